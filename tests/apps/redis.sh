#!/bin/bash
# redis-server with redis-cli and redis-benchmark: the default tests, many clients, pipelines, threads, a replica, persistence by fork
# under load, and either side restarted.
. "$(dirname "$0")/lib.sh"

requests=$((long ? 200000 : 5000))

# server ROLE [OPTION...]: sets $port and $pid.
server() {
	local role=$1
	shift
	mkdir -p "$dir/$role"
	start "$role" redis-server --port "$port" --bind "$host" --dir "$dir/$role" --save '' --enable-debug-command yes "$@"
	within 20 answers
}

answers() { [ "$(cli ping)" = PONG ]; }
cli() { call client redis-cli -h "$host" -p "$port" "$@"; }
digest() { cli debug digest | tail -n 1; }

# fill COUNT: the same keys each time, by one pipeline.
fill() {
	awk -v n="$1" 'BEGIN { for (i = 0; i < n; i++) printf "SET key:%d value-%d-%0100d\r\n", i, i, i }' | cli --pipe | grep -v 'data transferred' | result
}

# What a benchmark did, without its figures.
benchmark() { call client redis-benchmark -h "$host" -p "$port" --csv "$@" | cut -d, -f1 | result; }

default_tests() {
	port=$(free_port)
	server server
	benchmark -n "$requests"
	cli flushall | result
	fill 20000
	cli dbsize | result
	cli get key:19999 | result
	head -c 10000000 /dev/zero | tr '\0' x | cli -x set big | result
	cli get big | sum | result
	digest | result
}

many_clients() {
	port=$(free_port)
	server server
	benchmark -c 200 -n "$((requests * 4))" -t get,set,incr
	benchmark -P 16 -n "$((requests * 20))" -t get,set,lpush
	benchmark --threads 2 -c 50 -n "$((requests * 4))" -t get,set
	benchmark -k 0 -n "$((requests / 5))" -t get
	cli dbsize | result
}

io_threads() {
	port=$(free_port)
	server server --io-threads 3 --io-threads-do-reads yes
	benchmark --threads 2 -c 100 -n "$((requests * 4))" -t get,set -d 1000
}

subscribed() {
	port=$(free_port)
	server server
	call subscriber redis-cli -h "$host" -p "$port" subscribe news >"$dir/subscriber.log" &
	within 20 has_subscriber
	for i in 1 2 3 4 5 6 7 8; do cli publish news "message $i" | result; done
	wait_for_line "$dir/subscriber.log" "message 8"
	cli client kill type pubsub | result
	grep 'message [0-9]' "$dir/subscriber.log" | result
}
has_subscriber() { cli pubsub numsub news | grep -qx 1; }

# server, then a replica; $primary and $secondary are their ports.
pair() {
	primary=$(free_port) secondary=$(free_port)
	port=$primary
	server server --repl-diskless-sync-delay 0
	server_pid=$pid
	port=$secondary
	replica
}
replica() {
	server replica --replicaof "$host $primary"
	replica_pid=$pid
	within 30 linked
}
linked() { cli info replication | grep -q master_link_status:up; }
caught_up() {
	local d=$(port=$primary digest)
	[ -n "$d" ] && [ "$d" = "$(port=$secondary digest)" ]
}

replicated() {
	pair
	port=$primary
	fill 50000
	benchmark -n "$requests" -t set,lpush
	within 30 caught_up
	port=$secondary
	cli dbsize | result
	stop "$replica_pid"
	port=$primary
	cli set while away | result
	port=$secondary
	replica
	within 30 caught_up
	cli get while | result
	port=$primary
	cli shutdown save
	wait_end "$server_pid"
	server server
	cli set after restart | result
	port=$secondary
	within 30 linked
	within 30 caught_up
	cli get after | result
}

# Saved in the background by a forked child while clients write; then read back by another server.
saved() {
	port=$(free_port)
	server server
	fill 100000
	local before=$(digest)
	call load redis-benchmark -h "$host" -p "$port" -c 20 -l -t get -q >/dev/null 2>&1 &
	local load=$!
	for i in 1 2 3; do
		cli bgsave >/dev/null
		within 30 bgsave_done
	done
	cli bgrewriteaof >/dev/null
	within 30 rewrite_done
	cli client kill type normal >/dev/null
	kill "$load" 2>/dev/null || true
	cli info persistence | grep -E 'last_bgsave_status|last_bgrewrite_status' | tr -d '\r' | result
	stop "$pid"
	redis-check-rdb "$dir/server/dump.rdb" | grep -o 'RDB looks OK' | result
	server server
	[ "$(digest)" = "$before" ]
	cli dbsize | result
}
bgsave_done() { cli info persistence | grep -q rdb_bgsave_in_progress:0; }
rewrite_done() { cli info persistence | grep -q aof_rewrite_in_progress:0; }

# The same server by an AF_UNIX socket, with the option that moves those.
by_unix_socket() {
	export CAUSEWAY_UNIX_SOCKETS=yes
	mkdir -p "$dir/server"
	start server redis-server --port 0 --unixsocket "$dir/socket" --dir "$dir/server" --save '' --enable-debug-command yes
	within 20 answers_by_unix
	call client redis-benchmark -s "$dir/socket" --csv -c 8 -n "$((requests / 2))" -t get,set,lpush | cut -d, -f1 | result
	call client redis-benchmark -s "$dir/socket" --csv -c 8 -P 16 -n "$((requests * 2))" -t get,set | cut -d, -f1 | result
	awk 'BEGIN { for (i = 0; i < 20000; i++) printf "SET key:%d value-%0100d\r\n", i, i }' | cli_by_unix --pipe | grep -v 'data transferred' | result
	cli_by_unix dbsize | result
	head -c 3000000 /dev/zero | tr '\0' x | cli_by_unix -x set big | result
	cli_by_unix get big | sum | result
}
answers_by_unix() { [ "$(cli_by_unix ping)" = PONG ]; }
cli_by_unix() { call client redis-cli -s "$dir/socket" "$@"; }

if [ "$long" = 1 ]; then
	with_and_without "by an AF_UNIX socket" by_unix_socket
	went_by_ring server 8 500000 5
	went_by_ring client 8 500000 5
fi
with_and_without "default tests" default_tests
went_by_ring server 100 10000000 50
went_by_ring client 100 10000000 50
with_and_without "many clients, pipelines, threads" many_clients
went_by_ring server 300 5000000 50
went_by_ring client 300 5000000 50
reported client "a set of many marks its rings" ".marks > 0"
with_and_without "threads in the server" io_threads
went_by_ring server 50 5000000 50
with_and_without "publish and subscribe" subscribed
with_and_without "a replica; each side restarted" replicated
went_by_ring server 1 5000000 30
went_by_ring replica 1 100000 1
with_and_without "saved by fork under load" saved
went_by_ring server 1 1000000 30
went_by_ring load 1 1000000 30
