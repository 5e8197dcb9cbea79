# Sourced by the tests of applications. Each exercise is a function that runs twice, on plain kernel TCP and under Causeway, and must give
# the same results:
#
#	exercise() {
#		start server redis-server --port "$port"	# in the background, until the exercise ends
#		wait_for_port "$port"
#		call client redis-cli -p "$port" ping | result	# in the foreground, within $limit seconds; compared
#	}
#	with_and_without "redis answers" exercise
#	went_by_ring server 1 1000000 90	# the reports of the second run: streams, bytes, percent of all bytes
#
# An exercise runs under `set -e` in a shell of its own; what it starts is stopped at its end. $dir is its directory, $side is `without` or
# `with`. A role (server, client) may be used often: each use is a run with a report of its own, and the reports are added.
#
# CW_TEST_BASELINE=1 runs both sides without Causeway, which tests the exercises themselves. CW_TEST_LONG=1 is `make check-long`.

# In a network and process namespace of its own no port is taken, nothing listens, and nothing is left running, however the test ends.
if [ -z "${CW_TEST_INSIDE-}" ]; then
	export CW_TEST_INSIDE=1
	if unshare --net --pid --fork --mount-proc true 2>/dev/null; then
		exec unshare --net --pid --fork --mount-proc --kill-child "$BASH" "$0" "$@"
	fi
	echo "no namespaces here (not root?): the test runs among the machine's other programs"
fi
ip link set lo up 2>/dev/null

set -u -o pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=${BUILD:-$top/build}
case $build in /*) ;; *) build=$top/$build ;; esac
app=$(basename "$0" .sh)
service=test-$app-$$
work=$(mktemp -d "${TMPDIR:-/tmp}/causeway-$app.XXXXXX")
chmod 711 "$work"
long=${CW_TEST_LONG:-0}
side=outside dir=$work limit=$((long ? 600 : 60)) failures=0 started=() as=()
host=127.0.0.1
baseline=${CW_TEST_BASELINE:-0}
reports=yes # or no: nothing is asserted, only timed

ok() { echo "ok $app: $1"; }
not_ok() {
	echo "not ok $app: $1 # $2"
	failures=$((failures + 1))
}
skip() { echo "skip $app: $1 # $2"; }

# as_user NAME: what is started or called from here on in this exercise runs as this user.
as_user() { as=(setpriv "--reuid=$1" "--regid=$1" --init-groups); }

# under ROLE: sets `prefix` to what goes before a command line on this side.
under() {
	local n
	prefix=("${as[@]}")
	[ "$side" = with ] && [ "$baseline" = 0 ] || return 0
	prefix+=("$build/causeway" run --service "$service")
	if [ "$reports" = yes ]; then
		n=$(mktemp "$dir/$1.XXXXXX.json")
		chmod 666 "$n"
		prefix+=(--report "$n")
	fi
	prefix+=(--)
}

# start ROLE COMMAND...: in the background; $pid is the command's own process. Its output goes to $dir/ROLE.log.
start() {
	local role=$1 prefix
	shift
	under "$role"
	"${prefix[@]}" "$@" >>"$dir/$role.log" 2>&1 </dev/null &
	pid=$!
	started+=("$pid")
}

# call ROLE COMMAND...: in the foreground, within $limit seconds; standard streams are the caller's.
call() {
	local role=$1 prefix
	shift
	under "$role"
	timeout --foreground -k 5 "$limit" "${prefix[@]}" "$@"
}

ended() { ! kill -0 "$1" 2>/dev/null || [ "$(ps -o stat= -p "$1" | cut -c1)" = Z ]; }

# handles SIGNAL PID: servers serve before they are ready for signals.
handles() { [ $((0x$(awk '/^SigCgt/ { print $2 }' "/proc/$2/status") >> ($1 - 1) & 1)) = 1 ]; }

# within SECONDS COMMAND...: repeats the command until it succeeds.
within() {
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		if [ "$SECONDS" -ge "$end" ]; then
			echo "not within the time: $*"
			return 1
		fi
		sleep 0.1
	done
}

# stop PID [SIGNAL]: ends a process, by force after ten seconds, which is a failure.
stop() {
	kill "-${2:-TERM}" "$1" 2>/dev/null || return 0
	if ! within 10 ended "$1"; then
		kill -KILL "$1"
		return 1
	fi
}

stop_started() {
	local p status=0
	for p in "${started[@]}"; do stop "$p" || status=1; done
	return "$status"
}

# wait_end PID: the exit status of a started process, within $limit seconds.
wait_end() { within "$limit" ended "$1" && wait "$1"; }

listens() { ss -Hltn "sport = :$1" | grep -q .; }
wait_for_port() { within 20 listens "$1"; }
wait_for_line() { within "${3:-20}" grep -q -e "$2" "$1"; }

# Below the range from which connections take theirs; who listens there may not like the TIME-WAIT of another's.
in_use() { ss -Htan "sport = :$1" | grep -q .; }
free_port() {
	while port=$((10000 + RANDOM % 20000)) && in_use "$port"; do :; done
	echo "$port"
}

# result [TEXT...]: adds the text, or standard input, to what is compared.
result() {
	if [ $# -gt 0 ]; then echo "$*"; else cat; fi >>"$dir/result"
}

# same NAME WANTED GOT
same() { if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1" "wanted $2, got $3"; fi; }

# sum: the checksum of standard input.
sum() { sha256sum | cut -c1-32; }

start_service() {
	[ "$baseline" = 0 ] || return 0
	"$build/causewayd" --name "$service" >"$work/causewayd.log" 2>&1 </dev/null &
	service_pid=$!
}

one_side() {
	(
		started=()
		status=0
		trap 'status=$?; stop_started || status=1; exit $status' EXIT
		set -e
		"$@"
	) >"$dir/log" 2>&1 </dev/null
}

# one_turn NAME FUNCTION [ARGUMENT...]: an exercise on this side, in a directory of its own; sets `dir` and `status`.
one_turn() {
	dir=$work/${1//[^a-zA-Z0-9]/-}.$side$turn
	mkdir -m 1777 "$dir"
	: >"$dir/result"
	chmod 666 "$dir/result"
	shift
	one_side "$@"
	status=$?
}

# What depends on time may come out in more than one way with the kernel too, so it is asked again before a difference counts.
kernel_may() {
	local dir status side=without with=$dir/result begin=$SECONDS turn
	for turn in 2 3 4 5 6 7 8 9 10; do
		[ $((SECONDS - begin)) -lt "$limit" ] || return 1
		one_turn "$@"
		if [ "$status" = 0 ] && cmp -s "$dir/result" "$with"; then
			echo "so it comes out without Causeway too, the time number $turn"
			return 0
		fi
	done
	return 1
}

# with_and_without NAME FUNCTION [ARGUMENT...]
with_and_without() {
	local name=$1 why='' begin times= turn=
	exercise=$name
	for side in without with; do
		begin=$SECONDS
		one_turn "$@"
		times+="${times:+, }$((SECONDS - begin)) s $side"
		[ "$status" = 0 ] || why+="${why:+; }$side Causeway it failed with status $status"
	done
	if [ ! -s "$dir/result" ]; then
		why+="${why:+; }no results"
	elif ! diff -u "${dir%.with}.without/result" "$dir/result" >"$dir/difference"; then
		cat "$dir/difference"
		[ -z "$why" ] && kernel_may "$@" || why+="${why:+; }the results differ"
	fi
	echo "$name took $times"
	if [ -n "$why" ]; then
		tail -n 15 "${dir%.with}.without"/*log "${dir%.with}.without"/*/*log "$dir"/*log "$dir"/*/*log 2>/dev/null
		not_ok "$name" "$why"
	else
		ok "$name"
	fi
}

reports_written() {
	local f
	for f in "$dir/$1".*.json; do [ -s "$f" ] && jq -e . "$f" || return 1; done
}

# report ROLE: the sum of the role's reports, once its last process has ended.
report() {
	within 20 reports_written "$1" >&2 || return 1
	jq -s 'def total(f): map(f // 0) | add;
		{ runs: length, processes: total(.processes), moved: total(.sockets.moved), made: total(.sockets.made),
		  ring: total(.bytes.ring_in + .bytes.ring_out), kernel: total(.bytes.kernel_in + .bytes.kernel_out),
		  ring_in: total(.bytes.ring_in), ring_out: total(.bytes.ring_out), broken: total((.reasons.broken // 0) + (.broken // 0)),
		  marks: total(.marks), doorbells: total(.doorbells),
		  reasons: (map(.reasons | to_entries) | add // [] | group_by(.key) | map({key: .[0].key, value: (map(.value) | add)}) | from_entries) }
		| .percent = (if .ring + .kernel > 0 then 100 * .ring / (.ring + .kernel) else 0 end)' "$dir/$1".*.json
}

# reported ROLE WHAT FILTER: the filter must hold for the role's report of the exercise before.
reported() {
	local text
	if [ "$baseline" = 1 ]; then
		skip "$exercise: $1: $2" "CW_TEST_BASELINE is set"
	elif ! text=$(report "$1"); then
		not_ok "$exercise: $1: $2" "no report"
	elif jq -e "$3" >/dev/null <<<"$text"; then
		ok "$exercise: $1: $2"
		jq -c . <<<"$text"
	else
		jq . <<<"$text"
		not_ok "$exercise: $1: $2" "the report denies $3"
	fi
}

# went_by_ring ROLE STREAMS BYTES PERCENT: at least so many streams moved, so many bytes and so much of all bytes went by ring.
# How many do depends on who else wants the processors: a reader that is not there gets its bytes through the kernel, and who looks for them
# in vain rests. So some is all that is asked for here, the whole where the machine is kept for it (make check-long); `make bench` measures.
went_by_ring() {
	local bytes=$3 percent=$4
	[ "$long" = 1 ] || bytes=1 percent=0
	reported "$1" "bytes go by ring" ".moved >= $2 and .ring >= $bytes and .percent >= $percent and .broken == 0"
}

finish() {
	[ -z "${service_pid-}" ] || stop "$service_pid" || not_ok "the service ends" "not within ten seconds of SIGTERM"
	[ "$failures" = 0 ] && [ -z "${CW_TEST_KEEP-}" ] && rm -rf "$work"
	[ "$failures" = 0 ]
}
trap 'status=$?; finish || status=1; exit $status' EXIT

start_service
