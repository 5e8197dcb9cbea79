#!/bin/bash
# python3: a threaded server, an asyncio server, multiprocessing over TCP, sockets inherited by subprocesses and passed between processes.
. "$(dirname "$0")/lib.sh"

export PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1

exercised() {
	local port=$(free_port)
	start server /usr/bin/python3 -u "$top/tests/apps/python/$1.py" server "$port"
	wait_for_port "$port"
	call client /usr/bin/python3 -u "$top/tests/apps/python/$1.py" client "$port" | result
}

with_and_without "a threaded server" exercised threaded
for role in server client; do went_by_ring "$role" 24 4000000 8; done
with_and_without "an asyncio server" exercised asynchronous
for role in server client; do went_by_ring "$role" 40 10000000 20; done
with_and_without "multiprocessing over TCP" exercised processes
# A few messages a connection, most of them to one who sleeps.
for role in server client; do went_by_ring "$role" 3 40000 1; done
with_and_without "sockets inherited by subprocesses" exercised inherited
reported server "nothing is broken" ".broken == 0"
reported client "streams moved before they were handed over" ".moved >= 4 and .ring >= 500000 and .broken == 0"
with_and_without "sockets passed between processes" exercised passed
reported server "nothing is broken" ".broken == 0"
reported client "streams moved before they were passed" ".moved >= 3 and .ring >= 100000 and .broken == 0"
