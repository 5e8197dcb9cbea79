#!/bin/bash
# sockperf over TCP and UDP: ping-pong, under-load and throughput, several sizes, every way to wait, data integrity.
. "$(dirname "$0")/lib.sh"

seconds=$((long ? 20 : 1))
# The tool books a second for 1.2 million messages at most, and gives up beyond that; a stream in shared memory does more.
pace="--mps 500000"

# A summary without its figures: what was lost, doubled or out of order.
counts() { grep -o '# [a-z].*messages = .*' | sed 's/\x1b[^m]*m//g'; }

# server [WAY]: with a way to wait, on three sockets at once; else a blocking one.
server() {
	port=$(free_port)
	if [ $# = 0 ]; then
		start server sockperf server --tcp -i "$host" -p "$port"
	else
		for i in 0 1 2; do echo "T:$host:$((port + i))"; done >"$dir/feed"
		start server sockperf server -f "$dir/feed" -F "$1"
	fi
	wait_for_port "$port"
}

# The same over UDP.
udp_bound() { ss -Hlun "sport = :$1" | grep -q .; }
udp_server() {
	port=$(free_port)
	if [ $# = 0 ]; then
		start server sockperf server -i "$host" -p "$port"
	else
		for i in 0 1 2; do echo "U:$host:$((port + i))"; done >"$dir/feed"
		start server sockperf server -f "$dir/feed" -F "$1"
	fi
	within 20 udp_bound "$port"
}

udp_ping_pong() {
	udp_server
	for size in 14 60000; do
		call client sockperf ping-pong $pace -i "$host" -p "$port" -t "$seconds" -m "$size" | tee -a "$dir/client.log" | counts | result
	done
}

udp_integrity() {
	udp_server
	call client sockperf ping-pong $pace -i "$host" -p "$port" -t "$seconds" -m 1000 -r 900 --data-integrity >"$dir/client.log"
	counts <"$dir/client.log" | result
}

udp_several() {
	udp_server "$1"
	call client sockperf ping-pong $pace -f "$dir/feed" -F "$1" -t "$seconds" -m 200 >"$dir/client.log"
	counts <"$dir/client.log" | result
}

ping_pong() {
	server
	for size in 14 20000; do
		call client sockperf ping-pong $pace --tcp -i "$host" -p "$port" -t "$seconds" -m "$size" | tee -a "$dir/client.log" | counts | result
	done
}

integrity() {
	server
	call client sockperf ping-pong $pace --tcp -i "$host" -p "$port" -t "$seconds" -m 1000 -r 900 --data-integrity >"$dir/client.log"
	counts <"$dir/client.log" | result
}

# What it has not had an answer to when its time is over counts as dropped, so that depends on who else wants the processors.
under_load() {
	server
	call client sockperf under-load --tcp -i "$host" -p "$port" -t "$seconds" -m 100 --mps 20000 >"$dir/client.log"
	counts <"$dir/client.log" | sed 's/.*\(# duplicated\)/\1/' | result
}

throughput() {
	server
	for size in 64 60000; do
		call client sockperf throughput --tcp -i "$host" -p "$port" -t "$seconds" -m "$size" >"$dir/client.log"
		grep -c 'Summary: BandWidth is [1-9]' "$dir/client.log" | result "$size" "$(cat)"
	done
}

several() {
	server "$1"
	call client sockperf ping-pong $pace -f "$dir/feed" -F "$1" -t "$seconds" -m 200 >"$dir/client.log"
	counts <"$dir/client.log" | result
}

with_and_without "ping-pong" ping_pong
went_by_ring server 2 1000000 30
went_by_ring client 2 1000000 30
with_and_without "ping-pong with data integrity" integrity
went_by_ring client 1 100000 30
with_and_without "under-load" under_load
went_by_ring client 1 100000 30
with_and_without "throughput" throughput
went_by_ring client 2 10000000 80
went_by_ring server 2 10000000 80
for way in select poll epoll; do
	with_and_without "three sockets by $way" several "$way"
	went_by_ring server 3 100000 30
	went_by_ring client 3 100000 30
done
with_and_without "UDP ping-pong" udp_ping_pong
went_by_ring server 1 100000 20
went_by_ring client 2 100000 20
with_and_without "UDP ping-pong with data integrity" udp_integrity
went_by_ring client 1 100000 20
for way in poll epoll; do
	with_and_without "three UDP sockets by $way" udp_several "$way"
	went_by_ring server 3 10000 10
	went_by_ring client 3 10000 10
done
