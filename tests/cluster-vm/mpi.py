"""Open MPI on two nodes, as Debian has it: a rank each, and its own daemons."""
import glob
import os
import re
import shlex
import shutil
from base64 import b64encode

from guests import BUILD, TESTS, Skip, address, await_, expect, run
from streams import by_memory

PROGRAM = f"{BUILD}/tests/cluster-vm/mpi_exercise"
# Its components for ranks on several nodes over TCP. The others bring along what nobody has here.
COMPONENTS = ("allocator_*", "bml_*", "btl_self", "btl_tcp", "coll_basic", "coll_inter", "coll_libnbc", "coll_self", "coll_tuned", "errmgr_*", "ess_env",
              "ess_hnp", "ess_pmi", "filem_*", "grpcomm_*", "iof_*", "mpool_*", "odls_default", "oob_*", "patcher_*", "plm_rsh", "pmix_ext3x", "pml_ob1", "pstat_*",
              "rcache_*", "reachable_weighted", "regx_*", "rmaps_round_robin", "rml_*", "routed_*", "rtc_*", "schizo_ompi", "schizo_orte", "shmem_mmap",
              "state_*", "topo_basic")
OPTIONS = "--allow-run-as-root --mca btl tcp,self --mca pml ob1 --mca plm_rsh_agent /tmp/elsewhere --bind-to none"
EXPECTED = r"point to point: \d{7,} bytes\nnon-blocking: \d+ bytes\nany source: \d+ bytes\ncollectives: \d{5,} bytes\ncommunicators: \d+ bytes\nexit 0\n\s*"


def files():
    """Of an image, a line a file; none if there is no Open MPI here."""
    if not all(map(shutil.which, ("mpicc", "mpirun", "orted", "ompi_info"))):
        return []
    made = run(["mpicc", "-O2", "-o", PROGRAM, f"{TESTS}/apps/mpi_exercise.c"], 100)
    expect(made.returncode == 0, f"mpi_exercise does not build: {made.stderr}")
    place = re.search(r"^path:pkglibdir:(.*)", run(["ompi_info", "--parsable", "--path", "pkglibdir"], 60).stdout)
    expect(place, "ompi_info does not say where the components are")
    components = [path for name in COMPONENTS for path in glob.glob(f"{place[1]}/mca_{name}.so")] + glob.glob("/usr/lib/*/pmix2/lib/pmix/*_zlib.so")
    expect(components, f"no components in {place[1]}")
    return [f"{PROGRAM} /tests/mpi_exercise", *map(shutil.which, ("mpirun", "orted")), *components]


# What a remote shell would be told on node 1, for the host to do it on node 2.
ELSEWHERE = """#!/bin/sh
shift
echo "$*" >/tmp/asked.new
mv /tmp/asked.new /tmp/asked
"""


def start_daemon(guests, options):
    def asked():
        status, said = guests[1].do("cat /tmp/asked")
        return said.strip() if status == 0 else None

    command = shlex.quote(await_(asked, "what is to be started on node 2"))
    guests[2].must(f"{{ rm -f /tmp/report; causeway run {options} -- sh -c {command} >/tmp/orted.log 2>&1 & }}")


def ranks_talk_by_memory(guests):
    """Every byte checked: messages of all sizes, collectives, communicators. mpirun and its daemon on the other node are begun by `causeway run`."""
    if not os.path.exists(PROGRAM):
        raise Skip("no Open MPI")
    options = "--spin-us=1000 --report /tmp/report"
    for i in (1, 2):
        guests[i].must(f"printf '{address(1)} node1\\n{address(2)} node2\\n' >/etc/hosts; rm -f /tmp/asked /tmp/report")
        guests[i].must(f"echo {b64encode(ELSEWHERE.encode()).decode()} | base64 -d >/tmp/elsewhere; chmod 755 /tmp/elsewhere")
    guests[1].must(f"{{ causeway run {options} -- mpirun {OPTIONS} --host node1,node2 -n 2 /tests/mpi_exercise small >/tmp/mpi.log 2>&1; echo exit $? >>/tmp/mpi.log; }} &")
    start_daemon(guests, options)
    await_(lambda: guests[1].do("grep exit /tmp/mpi.log")[0] == 0, "the end of mpirun")
    said = guests[1].must("cat /tmp/mpi.log") + guests[2].must("cat /tmp/orted.log")
    expect(re.fullmatch(EXPECTED, said), said)
    for i in (1, 2):
        by_memory(guests[i], 0.1)
