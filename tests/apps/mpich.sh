#!/bin/bash
# MPICH over TCP: the program of apps/mpi, which checks every byte, and many ranks that start and end. Debian 12 builds MPICH with UCX alone
# (ch4:ucx), whose transports are chosen by the environment: tcp, and self for a rank's messages to itself. hydra, which starts the ranks, has
# control connections of its own, which are TCP as well.
#
# Not tested, because they don't hold on kernel TCP either with this build (MPICH 4.0.2, UCX 1.13.1):
#  - MPI_Finalize: one rank waits in UCX for its endpoints' flush while the others wait for it in PMI, in every twentieth run of two ranks and
#    every second of four. So here the ranks end without it, as soon as all of them have made their last call.
#  - MPI_Comm_spawn, which fails at once.
. "$(dirname "$0")/lib.sh"

program=$work/mpi_exercise
# MPICH declares MPI_STATUSES_IGNORE an array, at address 1.
MPICH_CC=${CC:-gcc} mpicc.mpich -O2 -Wall -Wextra -Werror -Wno-unknown-warning-option -Wno-stringop-overflow -o "$program" \
	"$top/tests/apps/mpi_exercise.c" || { not_ok "mpi_exercise builds" "see above"; exit; }
export UCX_TLS=tcp,self UCX_NET_DEVICES=lo

# mpiexec_ RANKS ARGUMENT...
mpiexec_() {
	local ranks=$1
	shift
	rm -f "$dir/left"
	MPI_EXERCISE_LEAVES=$dir/left call ranks mpiexec.mpich -localhost "$host" -n "$ranks" "$program" "$@" | result
}

started_and_ended() {
	local i
	for i in 1 2 3; do mpiexec_ 4 short; done
	mpiexec_ 8 short
}

with_and_without "2 ranks" mpiexec_ 2
went_by_ring ranks 2 50000000 40
with_and_without "many ranks start and end" started_and_ended
went_by_ring ranks 10 1000000 10
