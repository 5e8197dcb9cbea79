#!/bin/bash
# NetPIPE over TCP (with its check of every byte, one way at a time and both at once), qperf, nuttcp: what arrives, and that all of it does.
. "$(dirname "$0")/lib.sh"

most=$((long ? 100000000 : 1000000))

# netpipe OPTION...: sizes of which something was measured.
netpipe() {
	start receiver NPtcp -o /dev/null -u "$most" "$@"
	wait_for_port 5002
	call transmitter NPtcp -h "$host" -o "$dir/out" -u "$most" "$@" >"$dir/client.log" 2>&1
	wait_end "$pid"
	if grep -i -E 'error|fail|mismatch' "$dir/client.log"; then return 1; fi
	awk '{ print $1, ($2 > 0) }' "$dir/out" | result
}

checked() {
	netpipe -i -n 5
	grep -c 'Integrity check passed' "$dir/client.log" | result
}
ponged() { netpipe -p 0 -n 20; }
both_ways() { netpipe -2 -p 0 -n 20; }

others() {
	local p=$(free_port)
	start receiver nuttcp -S -1 --nofork -P "$p"
	wait_for_port "$p"
	call transmitter nuttcp -P "$p" -p "$(free_port)" -n 2000 -fparse "$host" | grep -o 'megabytes=[0-9]*' | result
	wait_end "$pid"
	p=$(free_port)
	start receiver qperf -lp "$p"
	wait_for_port "$p"
	call transmitter qperf -lp "$p" -ip "$(free_port)" -t 1 "$host" tcp_bw tcp_lat | sed 's/=.*//' | result
}

for way in checked ponged both_ways others; do
	with_and_without "$way" "$way"
	for role in receiver transmitter; do went_by_ring "$role" 1 1000000 20; done
done
