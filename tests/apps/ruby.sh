#!/bin/bash
# Ruby's sockets: a server with threads, one with IO.select, one whose processes share a listener; at the other end lines, copies to and from
# files and pipes, time-outs, threads woken by an exception or a close, connections passed and inherited, its own HTTP server and client.
. "$(dirname "$0")/lib.sh"

export RUBYOPT=-W0
head -c 5000000 /dev/urandom >"$work/file"

exercised() {
	local port=$(free_port)
	start server /usr/bin/ruby "$top/tests/apps/ruby/server.rb" "$1" "$port"
	wait_for_port "$port"
	call client /usr/bin/ruby "$top/tests/apps/ruby/client.rb" "$1" "$port" "$work/file" | result
	stop "$pid"
}

with_and_without "a server with threads" exercised threaded
reported server "streams are moved" ".moved >= 5 and .ring >= 20000 and .broken == 0"
reported client "streams are moved" ".moved >= 5 and .ring >= 20000 and .broken == 0"
with_and_without "a server with IO.select" exercised selecting
for role in server client; do reported "$role" "streams are moved" ".moved >= 8 and .ring >= 20000 and .broken == 0"; done
with_and_without "processes that share a listener" exercised forked
reported client "streams are moved" ".moved >= 2 and .ring >= 2000 and .broken == 0"
