#!/bin/bash
# PostgreSQL over TCP, one process a connection: pgbench, COPY of a million rows each way, cancelled queries, killed backends.
. "$(dirname "$0")/lib.sh"

transactions=$((long ? 5000 : 500))
PATH=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1):$PATH
export PGHOST=$host PGUSER=postgres PGDATABASE=postgres PGCONNECT_TIMEOUT=10
export LC_ALL=C
rows=$work/rows
awk 'BEGIN { for (i = 0; i < 1000000; i++) printf "%d\t%d\trow number %d\n", i, (i * 7919) % 1000003, i }' >"$rows"

# The server itself refuses to be root.
[ "$(id -u)" != 0 ] || user=postgres

server() {
	PGPORT=$(free_port)
	export PGPORT
	[ -z "${user-}" ] || as_user "$user"
	mkdir -p -m 777 "$dir/sockets"
	if [ ! -d "$dir/base" ]; then
		mkdir -m 777 "$dir/base"
		"${as[@]}" initdb -D "$dir/base/data" -U postgres -A trust -N -E UTF8 >"$dir/initdb.log"
	fi
	start server postgres -D "$dir/base/data" -k "$dir/sockets" -h "$host" -p "$PGPORT" -c fsync=off -c max_wal_size=4GB
	as=()
	within 20 ready
}

ready() { pg_isready -q; }
sql() { call client psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"; }

# What of pgbench's summary does not depend on time.
summary() { grep -E 'actually processed|failed transactions'; }

benchmarked() {
	server
	call client pgbench -i -s 4 -q 2>&1 | grep -o 'done' | result
	local way
	for way in simple extended prepared; do
		call client pgbench -n -c 8 -j 2 -t "$transactions" -M "$way" | summary | result
		call client pgbench -n -c 8 -j 2 -t "$transactions" -M "$way" -S | summary | result
	done
	call client pgbench -n -c 4 -j 2 -t 20 -C -S | summary | result
	sql -c 'select count(*) from pgbench_history; select sum(abalance) = (select sum(delta) from pgbench_history) from pgbench_accounts' | result
}

copied() {
	server
	sql -c 'create table t (a int, b int, c text)'
	sql -c '\copy t from stdin' <"$rows"
	sql -c 'select count(*), sum(a), sum(b), min(c), max(c) from t' | result
	sql -c '\copy (select * from t order by a) to stdout' | cmp - "$rows"
	sql -c '\copy (select * from t order by a) to stdout' | sum | result
	sql -c '\copy (select a, c from t order by a) to stdout (format binary)' | sum | result
	sql -c 'select * from t order by a' | sum | result
	sql -v FETCH_COUNT=1000 -c 'select * from t order by a' | sum | result
	pg_dump_ | sum | result
}
pg_dump_() { call client pg_dump -t t | grep -v -e '^--' -e '^.\(un\)\?restrict'; }

# expect_failure COMMAND...: its messages, which must be the same.
expect_failure() {
	if "$@" >"$dir/failed" 2>&1; then return 1; fi
	sed -e 's/ *(PID [0-9]*)//' -e "s/port $PGPORT/port/" "$dir/failed" | result
}
# This query, and the sleeper's second one: its first has answered.
busy() { [ "$(PGPORT=$PGPORT psql -X -A -t -c "select count(*) from pg_stat_activity where state = 'active' and query ~ 'pg_sleep'" | head -n 1)" = 2 ]; }
sleeper() { sql -c "select 'sleeper', count(*) from generate_series(1, 20000)" -c "select 'sleeper', pg_sleep(100) -- $dir"; }

# sleeping FUNCTION...: runs the function while a query sleeps.
sleeping() {
	sleeper >"$dir/sleeper" 2>&1 &
	local p=$!
	within 20 busy
	"$@" | result
	if wait "$p"; then return 1; fi
	result <"$dir/sleeper"
}
# Not one that asked for sleepers, and is about to end.
every_sleeper="from pg_stat_activity where query ~ 'sleeper' and state = 'active' and pid != pg_backend_pid()"
by_statement() { sql -c "select $1(pid) $every_sleeper"; }
by_kill() { kill -KILL "$(sql -c "select pid $every_sleeper")"; }

# psql asks for the cancelling over a connection of its own when it is interrupted.
by_interrupt() { kill -INT "$(pgrep -f "^psql .*pg_sleep.*-- $dir\$")"; }

ended_early() {
	server
	sleeping by_statement pg_cancel_backend
	sleeping by_interrupt
	sleeping by_statement pg_terminate_backend
	expect_failure sql -c "set statement_timeout = 100; select pg_sleep(10)"
	sql -c 'select 1' | result
	sleeping by_kill
	within 20 ready
	sql -c 'select 2' | result
	stop "$pid" INT
	server
	sql -c 'select 3' | result
}

# By an AF_UNIX socket, with the option that moves those.
by_unix_socket() {
	export CAUSEWAY_UNIX_SOCKETS=yes PGHOST=$dir/sockets
	server
	call client pgbench -i -s 1 -q 2>&1 | grep -o 'done' | result
	call client pgbench -n -c 4 -j 2 -t "$transactions" -S | summary | result
	call client pgbench -n -c 4 -j 2 -t 10 -C -S | summary | result
	sql -c 'create table t (a int, b int, c text)'
	head -n 100000 "$rows" | sql -c '\copy t from stdin'
	sql -c 'select count(*), sum(a), sum(b), min(c), max(c) from t' | result
	sql -c '\copy (select * from t order by a) to stdout' | sum | result
}

if [ "$long" = 1 ]; then
	with_and_without "by an AF_UNIX socket" by_unix_socket
	went_by_ring server 4 500000 5
	went_by_ring client 4 500000 5
fi
with_and_without "pgbench" benchmarked
went_by_ring server 10 1000000 30
went_by_ring client 10 1000000 30
with_and_without "COPY of a million rows" copied
went_by_ring server 5 60000000 40
went_by_ring client 5 60000000 40
with_and_without "cancelled queries, killed backends" ended_early
reported server "nothing is broken" ".broken == 0"
