#!/bin/bash
# MariaDB with a thread a connection and with its thread pool: sysbench, large rows, LOAD DATA LOCAL, dumps, killed queries and
# connections, a replica.
. "$(dirname "$0")/lib.sh"

events=$((long ? 20000 : 150))
base=$work/base
user=()
[ "$(id -u)" != 0 ] || user=(--user=mysql)
mariadb-install-db --no-defaults "${user[@]}" --datadir="$base" --auth-root-authentication-method=normal --skip-test-db >"$work/install.log" 2>&1 ||
	{ cat "$work/install.log"; not_ok "a database is made" "see above"; exit; }
awk 'BEGIN { for (i = 0; i < 100000; i++) printf "%d\t%d\trow number %d\n", i, (i * 7919) % 1000003, i }' >"$work/rows"
chmod 644 "$work/rows"

# InnoDB makes an io_uring for its files, and which sockets a ring will be given is seen by nobody: such a process is not moved. Killing is
# tested so, the rest without.
moved=--innodb-use-native-aio=0

# server NUMBER [OPTION...]: sets $port and $pid.
server() {
	local number=$1
	shift
	port=$(free_port)
	[ -d "$dir/base.$number" ] || cp -a "$base" "$dir/base.$number"
	start "server$number" mariadbd --no-defaults "${user[@]}" --datadir="$dir/base.$number" --socket="$dir/socket.$number" --port="$port" \
		--bind-address="$host" --pid-file="$dir/base.$number/pid" --skip-name-resolve --innodb-flush-log-at-trx-commit=0 \
		--innodb-buffer-pool-size=64M --server-id="$number" --log-bin=binary --max-allowed-packet=64M "$@"
	within 30 sql -e 'select 1'
}

sql() { call client mariadb --no-defaults -h "$host" -P "$port" --protocol=tcp -u root --max-allowed-packet=64M --local-infile=1 -N -B "$@"; }

# sysbench, without its figures.
bench() {
	local test=$1
	shift
	call bench sysbench "$test" --db-driver=mysql --mysql-host="$host" --mysql-port="$port" --mysql-user=root --mysql-db=bench \
		--tables=2 --table-size=2000 --rand-seed=7 "$@" >"$dir/sysbench.log" 2>&1 || { cat "$dir/sysbench.log"; return 1; }
	[ "${!#}" != run ] || grep -E 'total number of events|reconnects' "$dir/sysbench.log" | sed 's/(.*//' | tr -s ' ' | result
}

benchmarked() {
	server 1 "$@"
	sql -e 'create database bench'
	bench oltp_read_write prepare
	bench oltp_read_write --threads=1 --time=0 --events="$events" run
	bench oltp_read_only --threads=8 --time=0 --events="$events" run
	bench oltp_point_select --threads=8 --time=0 --events="$((events * 10))" run
	bench oltp_update_index --threads=1 --time=0 --events="$events" run
	sql bench -e 'checksum table sbtest1, sbtest2' | result
	sql bench -e 'create table big (a int, b longblob)'
	local i
	for i in 1 2 3; do
		{
			echo -n "insert into big values ($i, 0x"
			head -c 3000000 "$work/rows" | xxd -p | tr -d '\n'
			echo ");"
		} | sql bench
	done
	sql bench -e 'select a, length(b), md5(b) from big order by a' | result
	sql bench -e 'select hex(b) from big' | sum | result
	sql bench -e "create table t (a int primary key, b int, c text); load data local infile '$work/rows' into table t; select count(*), sum(b) from t" | result
	sql bench -e 'select * from t order by a' | cmp - "$work/rows"
	sql bench --quick -e 'select * from t order by a' | sum | result
	call client mariadb-dump --no-defaults -h "$host" -P "$port" --protocol=tcp -u root --skip-comments --hex-blob bench sbtest1 t big | sum | result
}

sleeper() { sql -e "select 'sleeper', sleep(100)" >"$dir/sleeper" 2>&1; }
its_number() { sql -e "select id from information_schema.processlist where info like '%sleeper%' and id != connection_id()" | grep .; }

ended_early() {
	server 1 "$@"
	local how p status
	for how in "kill query" "kill"; do
		sleeper &
		p=$!
		within 20 its_number
		sql -e "$how $(its_number)"
		status=0
		wait "$p" || status=$?
		result "$how: $status, $(sed -E 's/[0-9]+ ?\)/)/' "$dir/sleeper")"
	done
	sql -e 'set session wait_timeout = 1; select 1; select sleep(0.1)' | result
	if sql -e 'select * from no.such' >"$dir/failed" 2>&1; then return 1; fi
	result <"$dir/failed"
	sleeper &
	p=$!
	within 20 its_number
	kill -KILL "$pid"
	if wait "$p"; then return 1; fi
	cut -d: -f1 "$dir/sleeper" | result
	server 1 "$@"
	sql -e "select 'recovered'" | result
}

replicated() {
	server 1 $moved
	local primary=$port
	sql -e "create user copier@'%' identified by 'x'; grant replication slave on *.* to copier@'%'; create database bench"
	server 2 $moved
	sql -e "change master to master_host='$host', master_port=$primary, master_user='copier', master_password='x', master_use_gtid=slave_pos; start slave"
	local replica=$port
	port=$primary bench oltp_write_only prepare
	port=$primary bench oltp_write_only --threads=4 --time=0 --events="$events" run
	port=$primary sql bench -e "create table t (a int primary key, b int, c text); load data local infile '$work/rows' into table t"
	within 30 caught_up
	port=$replica sql bench -e 'select count(*), sum(b) from t' | result
}
caught_up() {
	local sums=$(port=$primary sql bench -e 'checksum table sbtest1, sbtest2, t')
	[ -n "$sums" ] && [ "$sums" = "$(port=$replica sql bench -e 'checksum table sbtest1, sbtest2, t')" ]
}

with_and_without "a thread a connection" benchmarked $moved
went_by_ring server1 10 20000000 40
went_by_ring bench 10 5000000 40
with_and_without "a pool of threads" benchmarked $moved --thread-handling=pool-of-threads --thread-pool-size=2
went_by_ring server1 10 20000000 30
with_and_without "killed queries, connections and servers" ended_early # with an io_uring
reported server1 "nothing is broken" ".broken == 0"
with_and_without "a replica" replicated
reported server1 "nothing is broken" ".broken == 0"
went_by_ring server2 1 400000 10
