#!/bin/bash
# Open MPI with its TCP transport alone, over loopback and over an address of the node's own: a program that checks every byte, many ranks that
# start and end, ranks that start others; under `causeway run` and by LD_PRELOAD.
. "$(dirname "$0")/lib.sh"

program=$work/mpi_exercise
OMPI_CC=${CC:-gcc} mpicc.openmpi -O2 -Wall -Wextra -Werror -o "$program" "$top/tests/apps/mpi_exercise.c" || { not_ok "mpi_exercise builds" "see above"; exit; }
export TMPDIR=$work # Open MPI's own files
limit=120

# mpirun_ INTERFACE RANKS ARGUMENT...
mpirun_() {
	local interface=$1 ranks=$2
	shift 2
	call ranks mpirun.openmpi --allow-run-as-root --oversubscribe --bind-to none --mca btl tcp,self --mca pml ob1 \
		--mca btl_tcp_if_include "$interface" --mca oob_tcp_if_include "$interface" -n "$ranks" "$@" | result
}

exercised() { mpirun_ "$1" "$2" "$program"; }

started_and_ended() {
	for i in 1 2 3 4 5; do mpirun_ lo 4 "$program" short; done
	mpirun_ lo 16 "$program" short
}

spawned() { for i in 1 2 3; do mpirun_ lo 1 "$program" spawn; done; }

# Without `causeway run`: the library alone, in mpirun and so in the ranks, or in the ranks alone; causeway ss counts for them.
preloaded() {
	if [ "$side" = with ] && [ "$baseline" = 0 ]; then
		export CAUSEWAY_SERVICE=$service
		side=without mpirun_ lo 2 -x CAUSEWAY_SERVICE -x LD_PRELOAD="$build/libcauseway.so" "$program"
		export LD_PRELOAD=$build/libcauseway.so
		side=without mpirun_ lo 2 "$program"
	else
		mpirun_ lo 2 "$program"
		mpirun_ lo 2 "$program"
	fi
}

# A name and an address of this node's own, other than loopback.
own_interface() {
	if ip link add own0 type veth peer name own1 && ip addr add 198.18.0.1/24 dev own0 && ip link set own1 up && ip link set own0 up; then
		echo own0
	else
		ip -o -4 addr show up scope global | awk '{ print $2; exit }'
	fi 2>/dev/null
}

for ranks in 2 4; do
	with_and_without "$ranks ranks over lo" exercised lo "$ranks"
	went_by_ring ranks 2 100000000 50
done
own=$(own_interface)
if [ -n "$own" ]; then
	for ranks in 2 4; do
		with_and_without "$ranks ranks over an own address" exercised "$own" "$ranks"
		went_by_ring ranks 2 100000000 50
	done
else
	skip "ranks over an own address" "this node has no address but loopback's, and none can be added"
fi
with_and_without "many ranks start and end" started_and_ended
went_by_ring ranks 20 1000000 20
with_and_without "ranks start ranks" spawned
reported ranks "nothing is broken" ".broken == 0"
with_and_without "by LD_PRELOAD alone" preloaded
