#!/bin/bash
# ZeroMQ: a C program with each pair of patterns (request and reply, push and pull, publish and subscribe, dealer and router), and Python with
# worker processes, encryption, an asyncio loop, and a server that is killed and comes back.
. "$(dirname "$0")/lib.sh"

export PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1
program=$work/messages
"${CC:-gcc}" -O2 -Wall -Wextra -Werror -o "$program" "$top/tests/apps/zeromq/messages.c" -lzmq || { not_ok "the program builds" "see above"; exit; }

# exercised PATTERN: one end binds, the other connects; each prints what it received.
exercised() {
	local port=$(free_port)
	start server "$program" "$1" bind "$port"
	wait_for_port "$port"
	call client "$program" "$1" connect "$port" | result
	wait_end "$pid"
	result <"$dir/server.log"
}

in_python() { call client /usr/bin/python3 -u "$top/tests/apps/zeromq/workers.py" ventilator "$(free_port)" | result; }

for pattern in request push publish deal; do
	with_and_without "$pattern" exercised "$pattern"
	# Threads of the library sleep and wake each other beside the connection, so how much goes by ring is the scheduler's affair.
	for role in server client; do reported "$role" "the stream is moved" ".moved >= 1 and .ring >= 10000 and .broken == 0"; done
done
with_and_without "workers, encryption, asyncio, restarts" in_python
reported client "streams are moved" ".moved >= 5 and .ring >= 50000 and .broken == 0"
