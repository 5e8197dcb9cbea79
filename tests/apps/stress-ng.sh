#!/bin/bash
# stress-ng's stressors of TCP sockets, which check what they receive: several ways to send, options at random, many connections at once,
# event sets.
. "$(dirname "$0")/lib.sh"

ops=$((long ? 20000 : 500))

# stress OPTION...: the verdicts of its stressors.
stress() {
	local code=0
	call stress stress-ng --temp-path "$dir" --verify --metrics --timeout 40 --oomable "$@" >"$dir/out.log" 2>&1 || code=$?
	grep -E 'passed:|failed:|untrustworthy|fail:|run completed' "$dir/out.log" | sed -e 's/^stress-ng: //' -e 's/\[[0-9]*\] *//' -e 's/ in [0-9].*//' | result
	result "status $code"
}

sockets() {
	local port=$(free_port) protocol
	for domain in ipv4 ipv6; do
		for way in send sendmsg sendmmsg; do
			stress --sock 2 --sock-ops "$ops" --sock-domain "$domain" --sock-type stream --sock-opts "$way" --sock-nodelay --sock-port "$port"
		done
	done
	stress --sock 2 --sock-ops "$ops" --sock-domain ipv4 --sock-opts random --sock-port "$port"
}

many() { stress --sockmany 1 --sockmany-ops "$((ops / 5))" --sockmany-port "$(free_port)"; }
sets() { stress --epoll 1 --epoll-ops "$((ops / 2))" --epoll-domain ipv4 --epoll-port "$(free_port)"; }
others() { stress --sockpair 1 --sockpair-ops "$ops" --sockabuse 1 --sockabuse-ops 20 --poll 1 --poll-ops "$ops" --sendfile 1 --sendfile-ops "$ops"; }

with_and_without "sockets" sockets
went_by_ring stress 20 1000000 5
with_and_without "many connections" many
reported stress "nothing is broken" ".broken == 0"
with_and_without "event sets" sets
reported stress "nothing is broken" ".broken == 0"
with_and_without "what isn't moved" others
reported stress "nothing is broken" ".broken == 0"
