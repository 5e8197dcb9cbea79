#!/bin/bash
# Java, its sockets and channels of all kinds: a selector, threads, completion handlers, time-outs, calls ended by another thread's close or
# interrupt, half-close, reset, urgent data, files by sendfile, the JDK's own HTTP server and client.
. "$(dirname "$0")/lib.sh"

limit=100
head -c 20000000 /dev/urandom >"$work/file"
ecj -17 -nowarn -proc:none -d "$work/classes" "$top/tests/apps/java" || { not_ok "the classes compile" "see above"; exit; }

exercised() {
	local port=$(free_port)
	start server java -XX:TieredStopAtLevel=1 -Xshare:auto -cp "$work/classes" Server "$port"
	wait_for_line "$dir/server.log" ready
	call client java -XX:TieredStopAtLevel=1 -Xshare:auto -cp "$work/classes" Client "$port" "$work/file" 2>"$dir/times.log" >"$dir/client.log"
	cat "$dir/times.log"
	result <"$dir/client.log"
	wait_end "$pid"
	sort "$dir/server.log" | result
}

with_and_without "every kind of socket" exercised
went_by_ring server 60 60000000 30
went_by_ring client 60 60000000 30
same "no exercise failed" 0 "$(grep -c 'Exception\|Error' <(sed '/^closed by\|^interrupted/d' "$dir/client.log"))"
