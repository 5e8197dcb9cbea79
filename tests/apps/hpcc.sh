#!/bin/bash
# The HPC Challenge over Open MPI's TCP transport: each of its parts runs, small, and checks its own results.
. "$(dirname "$0")/lib.sh"

export TMPDIR=$work OMP_NUM_THREADS=1
limit=140

# What each part found, without times and rates.
found() {
	sed -nE -e '/^Begin of|^Found .* errors|tests completed|^Node\(s\) with error|^Success=|_Errors=|^Solution Validates|^End of HPC/p' \
		-e 's/^\|\|Ax-b\|\|.*(PASSED|FAILED).*/Ax = b \1/p' "$1"
	awk -F= '/FFT_maxErr=/ { print $1, ($2 < 1e-10 ? "is small" : $2) }' "$1"
}

challenged() {
	cd "$dir"
	# One matrix of 200 rows, in blocks of 40, on a row of two ranks.
	sed -e '6s/^[0-9]*/200/' -e '8s/^[0-9]*/40/' -e '11s/^[0-9]*/1/' /usr/share/doc/hpcc/examples/_hpccinf.txt >hpccinf.txt
	call ranks mpirun.openmpi --allow-run-as-root --oversubscribe --bind-to none --mca btl tcp,self --mca pml ob1 \
		--mca btl_tcp_if_include lo --mca oob_tcp_if_include lo -n 2 hpcc
	found hpccoutf.txt | result
}

with_and_without "2 ranks" challenged
went_by_ring ranks 2 10000000 40
