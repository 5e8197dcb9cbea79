#!/bin/bash
# iperf3: one and eight streams, each direction and both at once.
. "$(dirname "$0")/lib.sh"

seconds=$((long ? 30 : 1))

# What an exercise must give: no error, as many streams as asked for, and bytes sent and received on each in each direction.
summary='[ (.error // "no error"), (.end.streams | length),
	(.end.streams | all(.sender.bytes > 0 and .receiver.bytes > 0)),
	(.end | [.sum_sent, .sum_received, .sum_sent_bidir_reverse, .sum_received_bidir_reverse] | map(select(. != null) | .bytes > 1000000)) ]'

transfer() {
	local port=$(free_port)
	start server iperf3 -s -1 -p "$port"
	wait_for_port "$port"
	call client iperf3 -c "$host" -p "$port" -t "$seconds" -J "$@" >"$dir/client.log"
	jq -c "$summary" "$dir/client.log" | result
	wait_end "$pid"
}

# So many bytes, and at most a block more. The receiver stops counting when the sender says that it has ended, which may be a little before the last byte.
counted() {
	local port=$(free_port)
	start server iperf3 -s -1 -p "$port"
	wait_for_port "$port"
	call client iperf3 -c "$host" -p "$port" -n 400M -J >"$dir/client.log"
	jq '.end | .sum_sent.bytes >= 419430400, .sum_sent.bytes <= 419430400 + 131072, .sum_received.bytes >= 0.95 * .sum_sent.bytes' "$dir/client.log" | result
	wait_end "$pid"
}

both_ends() { for role in server client; do went_by_ring "$role" "$@"; done; }

for streams in 1 8; do
	for way in "" -R --bidir; do
		with_and_without "$streams streams $way" transfer -P "$streams" $way
		# Both ways one thread sends and receives in turn: its ring fills while it sends, and what is on its way then goes by the kernel.
		if [ "$way" = --bidir ]; then percent=50; else percent=80; fi
		both_ends "$streams" 100000000 "$percent"
	done
done
with_and_without "400 MB" counted
both_ends 1 300000000 80
with_and_without "writes of 1 kB" transfer -l 1000
both_ends 1 10000000 80
