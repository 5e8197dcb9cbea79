#!/bin/sh
# In the guest: each scenario without Causeway and with it. A line a result, `ok NAME` or `not ok NAME # why`, on the console.
# $1: directory of the programs. A scenario of the oracle is compared without and with, as tests/oracle/run does it.
cd /tmp || exit 1
bad=0

ok() { echo "ok guest/$1"; }
not_ok() {
	echo "not ok guest/$1 # $2"
	bad=1
}

# compare NAME COMMAND...: the same, and it must have been moved.
compare() {
	name=$1
	shift
	timeout 20 "$@" >without 2>&1 </dev/null
	rm -f report
	timeout 20 /causeway/causeway run --service guest --after-messages=1 --report /tmp/report -- "$@" >with 2>&1 </dev/null
	tries=0
	while [ ! -s report ] && [ $tries -lt 50 ]; do
		usleep 100000
		tries=$((tries + 1))
	done
	moved=$(tr -d ' \n' <report | sed -n 's/.*"sockets":{[^}]*"moved":\([0-9]*\).*/\1/p')
	if ! cmp -s without with; then
		diff -u without with | head -n 20
		not_ok "$name" "not the same"
	elif [ "${moved:-0}" -lt 1 ]; then
		cat report
		not_ok "$name" "nothing was moved"
	else
		ok "$name"
	fi
}

for scenario in both_ways other_records records_unread; do
	compare "ktls_$scenario" /tests/ktls $scenario
	grep -q 'setsockopt(fd, SOL_TLS.* -> 0' without || not_ok "ktls_$scenario" "the kernel has no such layer: $(head -n 3 without)"
done
while read -r scenario; do
	compare "oracle_$scenario" /tests/scenarios --warm=60 --helper /tests "$scenario"
done </scenarios.list
uname -r
exit $bad
