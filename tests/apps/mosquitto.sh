#!/bin/bash
# Mosquitto: messages of all qualities of service, kept ones, large ones, many, a will, a session that waits for its client, a bridge of two.
. "$(dirname "$0")/lib.sh"

messages=$((long ? 50000 : 2000))
head -c 20000000 /dev/urandom >"$work/large"

# broker ROLE [LINE...]: sets $port and $pid.
broker() {
	local role=$1
	shift
	port=$(free_port)
	printf '%s\n' "listener $port $host" "allow_anonymous true" "max_inflight_messages 0" "max_queued_messages 0" "log_type none" "user root" "$@" >"$dir/$role.conf"
	start "$role" mosquitto -c "$dir/$role.conf"
	wait_for_port "$port"
}
publish() { call publisher mosquitto_pub -h "$host" -p "${to-$port}" "$@"; }

# subscribe NAME COUNT OPTION...: in the background, until it has so many messages.
subscribe() {
	local name=$1 count=$2
	shift 2
	call subscriber mosquitto_sub -h "$host" -p "${from-$port}" -C "$count" "$@" >"$dir/$name.got" &
	subscribers+=($!)
}
# So many clients are connected; what they ask for comes at once behind that.
sees() { [ "$(ss -Htn state established "sport = :$port" | wc -l)" -ge "$1" ]; }
all_came() { wait "${subscribers[@]}"; }

told() {
	broker broker
	subscribers=()
	local q
	for q in 0 1 2; do
		subscribe "quality.$q" "$messages" -q "$q" -t "numbers/$q"
	done
	subscribe large 3 -t large -N
	subscribe will 1 -t will
	within 30 sees 5
	sleep 1
	for q in 0 1 2; do seq "$messages" | publish -l -q "$q" -t "numbers/$q"; done
	for q in 0 1 2; do publish -q "$q" -t large -f "$work/large"; done
	start doomed mosquitto_sub -h "$host" -p "$port" -t nothing --will-topic will --will-payload "it died"
	within 30 sees 1
	sleep 1
	kill -KILL "$pid"
	all_came
	for q in 0 1 2; do sum <"$dir/quality.$q.got" | result; done
	sum <"$dir/large.got" | result
	result <"$dir/will.got"
	publish -r -t kept -m "kept"
	call subscriber mosquitto_sub -h "$host" -p "$port" -C 1 -t kept | result
	call subscriber mosquitto_sub -h "$host" -p "$port" -i waiter -c -q 1 -t later -E
	seq "$messages" | publish -l -q 1 -t later
	call subscriber mosquitto_sub -h "$host" -p "$port" -i waiter -c -q 1 -t later -C "$messages" | sum | result
}

bridged() {
	broker broker
	local first=$port
	broker bridge "connection first" "address $host:$first" "topic # both 2" "try_private true" "restart_timeout 1"
	from=$port
	subscribers=()
	subscribe all "$messages" -q 2 -t numbers
	sleep 1
	seq "$messages" | to=$first publish -l -q 2 -t numbers
	all_came
	sum <"$dir/all.got" | result
	from=$first
	subscribers=()
	subscribe large 2 -q 1 -t large -N
	sleep 1
	for i in 1 2; do to=$port publish -q 1 -t large -f "$work/large"; done
	all_came
	sum <"$dir/large.got" | result
}

with_and_without "messages" told
# How much goes by ring is as the broker's one thread meets its clients: little where they share its processor.
reported broker "streams are moved" ".moved >= 8 and .ring > 0 and .broken == 0"
reported publisher "streams are moved" ".moved >= 4 and .ring > 0 and .broken == 0"
with_and_without "a bridge" bridged
reported bridge "streams are moved" ".moved >= 2 and .ring > 0 and .broken == 0"
