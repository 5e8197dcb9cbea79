#!/bin/bash
# nanomsg and nng, each with itself and with the other: requests, work, pairs, news by a C program; nanocat and nngcat with what a program gives them.
. "$(dirname "$0")/lib.sh"

source=$top/tests/apps/nanomsg_patterns.c
"${CC:-gcc}" -O2 -Wall -Wextra -Werror -o "$work/nanomsg" "$source" -lnanomsg &&
	"${CC:-gcc}" -O2 -Wall -Wextra -Werror -DNNG -o "$work/nng" "$source" -lnng || { not_ok "the programs build" "see above"; exit 1; }

# patterns SERVER CLIENT
patterns() {
	local port=$(free_port)
	start server "$work/$1" bind "$port"
	wait_for_port "$((port + 4))"
	call client "$work/$2" connect "$port" | result
	wait_for_line "$dir/server.log" messages
	stop "$pid"
	result <"$dir/server.log"
}

head -c 700000 /dev/urandom | base64 -w 0 >"$work/text"

# Requests by either program to nngcat, which answers each with a file's content.
programs() {
	local port=$(free_port) i
	start server nngcat --rep --listen "tcp://$host:$port" --file "$work/text" --quoted
	wait_for_port "$port"
	for i in 1 2 3; do
		call client nanocat --req --connect "tcp://$host:$port" --data "request $i" --raw | sum | result
		call client nngcat --req --dial "tcp://$host:$port" --data "request $i" --raw | sum | result
	done
	stop "$pid"
	result <"$dir/server.log"
}

for server in nanomsg nng; do
	for client in nanomsg nng; do
		with_and_without "a server of $server, a client of $client" patterns "$server" "$client"
		for role in server client; do reported "$role" "streams are moved" ".moved >= 3 and .ring >= 200000 and .broken == 0"; done
	done
done
with_and_without "nanocat and nngcat" programs
same "nanocat and nngcat: they get the file" "$(for i in 1 2 3 4 5 6; do sum <"$work/text"; done)" "$(head -n 6 "$dir/result")"
reported server "nothing is broken" ".broken == 0"
