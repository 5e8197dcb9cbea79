#!/bin/bash
# gRPC: calls of all four kinds, many at once, messages of megabytes, metadata, errors, deadlines, calls that are given up; a server with
# threads and one with asyncio, a client with both.
. "$(dirname "$0")/lib.sh"

export PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1

# exercised [aio]
exercised() {
	local port=$(free_port)
	start server /usr/bin/python3 -u "$top/tests/apps/grpc_calls.py" server "$port" "$@"
	wait_for_line "$dir/server.log" ready
	call client /usr/bin/python3 -u "$top/tests/apps/grpc_calls.py" client "$port" | result
	stop "$pid"
}

with_and_without "a server with threads" exercised
for role in server client; do reported "$role" "streams are moved" ".moved >= 5 and .ring >= 200000 and .broken == 0"; done
with_and_without "an asyncio server" exercised aio
for role in server client; do reported "$role" "streams are moved" ".moved >= 5 and .ring >= 200000 and .broken == 0"; done
