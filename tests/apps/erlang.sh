#!/bin/bash
# Erlang: two nodes and their port mapper; messages, calls, terms of megabytes, links, gen_tcp in all its modes, a node that dies while
# it sends.
. "$(dirname "$0")/lib.sh"

export HOME=$work ERL_EPMD_ADDRESS=$host ERL_CRASH_DUMP_BYTES=0
erlc -o "$work" "$top/tests/apps/erlang/node.erl" || { not_ok "the module compiles" "see above"; exit; }
flags=(-noinput -pa "$work" -setcookie causeway -start_epmd false -kernel inet_dist_use_interface '{127,0,0,1}' +S 2:2)

exercised() {
	export ERL_EPMD_PORT=$(free_port)
	start mapper epmd -address "$host" -port "$ERL_EPMD_PORT"
	wait_for_port "$ERL_EPMD_PORT"
	start first erl "${flags[@]}" -name "first@$host"
	local first=$pid code=0
	call second erl "${flags[@]}" -name "second@$host" -run node main -extra "first@$host" | result
	wait_end "$first" || code=$?
	result "the first ended with $code"
}

with_and_without "two nodes" exercised
# A thread of the machine sleeps in the event set at all times, so the kernel wakes it for each message and has nearly all bytes.
for role in first second; do reported "$role" "streams are moved" ".moved >= 2 and .broken == 0"; done
same "all was done" 8 "$(wc -l <"$dir/result")"
