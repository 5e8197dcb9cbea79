#!/bin/bash
# PVM: two daemons with an address and a directory each, so that they are hosts of their own; a task that spawns others on both, and packed
# data of all sizes between them. On a host these go through UNIX domain sockets; between hosts through the daemons (datagrams), or by TCP
# connections of the tasks' own.
. "$(dirname "$0")/lib.sh"

program=$work/pvm_exercise
"${CC:-gcc}" -O2 -Wall -Wextra -Werror -o "$program" "$top/tests/apps/pvm_exercise.c" -lpvm3 ||
	{ not_ok "pvm_exercise builds" "see above"; exit; }
export PVM_ROOT=/usr/lib/pvm3 PVM_ARCH=LINUX64 PVM_ALLOW_ROOT=1

ulimit -n 1024 # a daemon closes all that there might be
addresses=(198.18.0.1 198.18.0.2)
for address in "${addresses[@]}"; do
	ip addr add "$address/32" dev lo || { skip "two hosts" "this node has no addresses to give"; exit 0; }
done

# What a daemon runs to start another: HOST [OPTION...] COMMAND...
cat >"$work/rsh" <<'END'
#!/bin/bash
shift
export PVM_TMP=$PVM_TMP/second
exec bash -c "$*"
END
chmod +x "$work/rsh"
export PVM_RSH=$work/rsh

daemon_ready() { grep -q ready "$dir"/pvml.*; }

spawned() {
	export PVM_TMP=$dir
	mkdir "$dir/second"
	start daemon "$PVM_ROOT/lib/pvmd" "-n${addresses[0]}"
	within 20 daemon_ready
	call first "$program" "${addresses[1]}" | result
	# That ends the console too.
	call console pvm <<<halt || true
	wait_end "$pid"
}

with_and_without "tasks on two hosts" spawned
for role in daemon first; do reported "$role" "streams are moved" ".moved >= 2 and .ring >= 100000 and .broken == 0"; done
