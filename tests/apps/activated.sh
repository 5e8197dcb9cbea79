#!/bin/bash
# Servers that get their sockets from another program: openbsd-inetd (one process a connection, one for the listener, inetd's own services)
# and systemd-socket-activate (a process a connection, or the listener itself).
. "$(dirname "$0")/lib.sh"

file=$work/file
head -c $((long ? 1 << 30 : 20 << 20)) /dev/urandom >"$file"
chmod 644 "$file"
cat >"$work/upper" <<'END'
#!/usr/bin/python3
"""Standard streams are a connection: lines come back in capitals."""
import sys
for line in sys.stdin:
    sys.stdout.write(line.upper())
    sys.stdout.flush()
END
cat >"$work/listener" <<'END'
#!/usr/bin/python3
"""Serves a listener that it got: echoes two connections, and ends. A socket activated by systemd is number 3, by inetd standard input."""
import os, socket
listener = socket.socket(fileno=3 if "LISTEN_FDS" in os.environ else 0)
for _ in range(2):
    connection, _ = listener.accept()
    while data := connection.recv(50000):
        connection.sendall(data)
    connection.close()
END
chmod 755 "$work/upper" "$work/listener"

lines() {
	for i in 1 2 3 4 5 6 7 8 9 10; do
		echo "line $i"
		sleep 0.01
	done
}
ask() { call client socat -t 20 - "TCP:$host:$1"; }

# It takes LD_PRELOAD and its like from the environment of its servers, unless it is told not to (-E).
by_inetd() {
	local upper=$(free_port) cat_=$(free_port) echo_=$(free_port) waits=$(free_port) i pids=()
	cat >"$dir/conf" <<-END
		$host:$upper stream tcp nowait root $work/upper upper
		$host:$cat_ stream tcp nowait root /bin/cat cat
		$host:$waits stream tcp wait root $work/listener listener
	END
	start server inetd -i "$@" "$dir/conf"
	wait_for_port "$waits"
	lines | ask "$upper" | result
	for i in 1 2 3 4; do
		ask "$cat_" <"$file" | sum >"$dir/sum.$i" &
		pids+=($!)
	done
	wait "${pids[@]}"
	cat "$dir"/sum.* | result
	for i in 1 2 3; do ask "$cat_" <<<"short $i" | result; done
	ask "$waits" <"$file" | sum | result
	lines | ask "$waits" | result
	# Its server has ended: inetd listens again.
	for i in 1 2; do ask "$waits" <<<"again $i" | result; done
	kill -HUP "$pid"
	ask "$cat_" <<<"after HUP" | result
}

activate() {
	port=$(free_port)
	start server systemd-socket-activate -l "$host:$port" "${handed[@]}" "$@"
	wait_for_port "$port"
}

# It gives the server an environment of its own, in which Causeway is only when it is handed on.
by_systemd() {
	handed=()
	if [ "$side" = with ] && [ "${1-}" = handed ]; then
		handed=(-E LD_PRELOAD -E CAUSEWAY_SERVICE -E CAUSEWAY_RUN)
	fi
	activate --accept --inetd "$work/upper"
	lines | ask "$port" | result
	lines | ask "$port" | result
	activate --accept --inetd cat
	ask "$port" <"$file" | sum | result
	activate "$work/listener"
	ask "$port" <"$file" | sum | result
	lines | ask "$port" | result
}

with_and_without "inetd" by_inetd
reported client "its servers are not under Causeway" ".moved == 0 and .broken == 0"
with_and_without "inetd that hands Causeway on" by_inetd -E
reported server "nothing is broken" ".broken == 0"
went_by_ring client 1 4000000 1
with_and_without "systemd-socket-activate" by_systemd
reported server "its servers are not under Causeway" ".moved == 0"
reported client "nothing is broken" ".moved == 0 and .broken == 0"
with_and_without "systemd-socket-activate that hands Causeway on" by_systemd handed
reported server "nothing is broken" ".moved >= 2 and .broken == 0"
went_by_ring client 2 4000000 1
