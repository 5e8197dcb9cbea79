#!/bin/bash
# socat: a large file each way, and both ways at once, compared by checksum.
. "$(dirname "$0")/lib.sh"

size=$((1 << 30))
file=$work/file
head -c "$size" /dev/urandom >"$file"
chmod 644 "$file"
wanted=$(sum <"$file")
limit=120

# The listener sends, or receives, the whole file.
from_listener() {
	local port=$(free_port)
	start listener socat -u "OPEN:$file" "TCP-LISTEN:$port"
	wait_for_port "$port"
	call connector socat -u "TCP:$host:$port" - | sum | result
	wait_end "$pid"
}

to_listener() {
	local port=$(free_port)
	start listener socat -u "TCP-LISTEN:$port" EXEC:sha256sum
	wait_for_port "$port"
	call connector socat -u "OPEN:$file" "TCP:$host:$port"
	wait_end "$pid"
	wait_for_line "$dir/listener.log" '  -$'
	grep '  -$' "$dir/listener.log" | cut -c1-32 | result
}

# The listener echoes through a process of its own; the file goes both ways at once.
echoed() {
	local port=$(free_port)
	start listener socat "TCP-LISTEN:$port" EXEC:cat
	wait_for_port "$port"
	call connector socat -t 30 - "TCP:$host:$port" <"$file" | sum | result
	wait_end "$pid"
}

# Where a reader computes, or writes to a pipe, its ring fills, and the writer goes to the kernel, which has more room.
for way in from_listener to_listener echoed; do
	with_and_without "1 GB $way" "$way"
	for role in listener connector; do went_by_ring "$role" 1 "$((size * 3 / 10))" 30; done
	same "1 GB $way: the file's checksum" "$wanted" "$(cat "$dir/result")"
done
