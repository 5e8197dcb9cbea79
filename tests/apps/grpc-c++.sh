#!/bin/bash
# gRPC in C++: a greeter, streams of the server's, of the client's and both ways, many calls at once, messages of megabytes, deadlines, calls that
# are given up. (apps/grpc is the same by Python.)
. "$(dirname "$0")/lib.sh"

export GRPC_VERBOSITY=ERROR
program=$work/hello

build_hello() {
	protoc -I "$top/tests/apps/grpc" --cpp_out="$work" --grpc_out="$work" --plugin=protoc-gen-grpc="$(command -v grpc_cpp_plugin)" hello.proto &&
		"${CXX:-g++}" -O1 -Wall -Wextra -Werror -I "$work" -o "$program" "$top/tests/apps/grpc/hello.cc" -lprotobuf-lite $(pkg-config --libs grpc++)
}
build_hello || { not_ok "the program builds" "see above"; exit; }

greeted() {
	local port=$(free_port)
	start server "$program" server "$port"
	wait_for_line "$dir/server.log" ready
	call client "$program" client "$port" | result
	stop "$pid"
	result <"$dir/server.log"
}

# A server for two clients at once, which is killed: both see it end.
killed() {
	local port=$(free_port) server i waits=()
	start server "$program" server "$port"
	server=$pid
	wait_for_line "$dir/server.log" ready
	for i in 1 2; do
		start client "$program" until-end "$port"
		waits+=("$pid")
	done
	wait_for_line "$dir/client.log" counting
	within 20 counting_both
	kill -KILL "$server"
	for i in "${waits[@]}"; do wait_end "$i"; done
	result <"$dir/client.log"
}
counting_both() { [ "$(grep -c counting "$dir/client.log")" = 2 ]; }

with_and_without "greetings and streams" greeted
for role in server client; do reported "$role" "streams are moved" ".moved >= 5 and .ring >= 200000 and .broken == 0"; done
with_and_without "a server is killed" killed
reported client "streams are moved" ".moved >= 2"
