#!/bin/sh
# In a guest of two memory nodes with a processor each: where the memory of a stream lies, and in which pages. A line a result on the console.
export PATH=/causeway:/usr/bin:/bin
cd /tmp || exit 1
bad=0
port=5000

ok() { echo "ok guest/$1"; }
not_ok() {
	echo "not ok guest/$1 # $2"
	bad=1
}
expect() { # NAME WHY COMMAND...
	name=$1 why=$2
	shift 2
	if "$@" >/dev/null; then ok "$name"; else not_ok "$name" "$why"; fi
}

await() { # SECONDS COMMAND...
	tries=$(($1 * 5))
	shift
	until "$@" >/dev/null 2>&1; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || return 1
		usleep 200000
	done
}

begin_service() {
	taskset -c 0 causewayd "$@" >service.log 2>&1 &
	service=$!
	await 20 causeway status
}

end_service() {
	causeway stop
	wait "$service"
}

listening() { netstat -ltn | grep -q ":$port "; }

# One way, without an end: from a program on the first processor's node to one on the second's.
begin_stream() { # WRITER READER: processors
	port=$((port + 1))
	taskset -c "$2" causeway run --report reader -- iperf3 -s -1 -p "$port" >reader.log 2>&1 &
	await 20 listening
	taskset -c "$1" causeway run --report writer -- iperf3 -c 127.0.0.1 -p "$port" -t 100 >writer.log 2>&1 &
	await 20 full
}

# The ring that is written to has become as large as it gets: 64 pages beside what the other stream has.
full() { [ "$(pages 0)" -ge 64 ] || [ "$(pages 1)" -ge 64 ]; }

end_stream() {
	kill -KILL $(pidof iperf3)
	await 20 test "$(causeway windows --json | tr -d ' \n')" = "[]"
}

# Pages of 4 KiB of arenas on a node, in the memory of a program that has one.
pages() { # NODE
	for pid in $(pidof iperf3); do cat "/proc/$pid/numa_maps"; done | sed -n "/memfd:causeway/s/.* N$1=\([0-9]*\).*/\1/p" | sort -n | tail -n 1 | grep . || echo 0
}

memory_nodes() { causeway windows --json | tr -d ' \n' | grep -o '"memory_nodes":\[[^]]*\]'; }

numbers() { causeway topology --json | tr -d ' \n' | grep -o '"number":[0-9]*' | sort -u | tr '\n' ' '; }

mkdir -p /var/log /etc/causeway
begin_service
topology=$(numbers)
expect numa_topology "it says: $topology" test "$topology" = '"number":0 "number":1 '
for reader in 0 1; do
	begin_stream $((1 - reader)) $reader || not_ok numa_stream "no stream with a full ring: $(cat writer.log reader.log) $(causeway windows)"
	near=$(pages $reader) far=$(pages $((1 - reader))) nodes=$(memory_nodes)
	echo "read on node $reader: $near pages there, $far on the other; windows says $nodes"
	grep -h memfd:causeway /proc/$(pidof iperf3 | cut -d' ' -f1)/numa_maps | head -n 3
	expect "numa_ring_is_near_its_reader_on_node_$reader" "$near pages near, $far far" test "$near" -ge 64 -a "$far" -lt 64
	expect "numa_windows_tells_node_$reader" "it says $nodes" expr "$nodes" : ".*[[,]$reader[],]"
	end_stream || not_ok numa_ends "memory is still there: $(causeway windows)"
done
end_service

echo advise >/sys/kernel/mm/transparent_hugepage/shmem_enabled || not_ok huge_pages "the kernel has none"
begin_service --huge-pages
begin_stream 0 1
huge=$(sed -n 's/^ShmemHugePages: *\([0-9]*\) kB/\1/p' /proc/meminfo)
mapped=$(cat /proc/$(pidof iperf3 | cut -d' ' -f1)/smaps | grep -A 25 memfd:causeway | grep -o 'ShmemPmdMapped: *[1-9][0-9]*')
echo "huge pages: $huge KiB, of them $mapped KiB in a program; on nodes $(memory_nodes): $(pages 0) and $(pages 1)"
expect huge_pages_are_used "$huge KiB" test "${huge:-0}" -ge 2048
expect huge_pages_reach_programs "not mapped: $mapped" test -n "$mapped"
end_stream
begin_stream 1 1
expect huge_pages_lie_near_their_programs "$(pages 0) far, $(pages 1) near" test "$(pages 0)" -lt 64 -a "$(pages 1)" -ge 512
end_stream
end_service
exit $bad
