#!/bin/sh
# The causeway command as people use it. CAUSEWAY names the binary; the daemon and the library lie beside it.
# Prints ok NAME, not ok NAME, skip NAME # reason. In a network namespace of its own where that is allowed: then the names of services
# (abstract sockets) are free, and nobody else's service is touched.
# shellcheck disable=SC2317,SC2016
set -u
here=$(cd "$(dirname "$0")/../.." && pwd)
CAUSEWAY=${CAUSEWAY:-$here/build/causeway}
if [ "${CAUSEWAY_TEST_ALONE:-}" = "" ]; then
	if unshare -n true 2>/dev/null; then
		export CAUSEWAY CAUSEWAY_TEST_ALONE=1
		exec unshare -n sh "$0" "$@"
	fi
	CAUSEWAY_TEST_ALONE=0
fi
alone=$CAUSEWAY_TEST_ALONE
[ "$alone" = 0 ] || ip link set lo up
unset CAUSEWAY_TEST_ALONE CAUSEWAY_CONFIG CAUSEWAY_SERVICE CAUSEWAY_RUN CAUSEWAY_MOVE CAUSEWAY_LIBRARY LD_PRELOAD 2>/dev/null

work=$(mktemp -d)
mkdir "$work/bin"
cp "$CAUSEWAY" "$(dirname "$CAUSEWAY")/causewayd" "$work/bin/" && cp "$(dirname "$CAUSEWAY")/libcauseway.so" "$work/bin/" || exit 2
chmod -R a+rX "$work"
causeway=$work/bin/causeway
service=causeway/test/command/$$
failed=0

stop_all() {
	for name in "$service" "$service/two" causeway/user/65534 causeway/system; do
		case $name$alone in causeway/user*0 | causeway/system0) continue ;; esac
		timeout 10 "$causeway" stop --service "$name" >/dev/null 2>&1
	done
	rm -rf "$work"
}
trap stop_all EXIT

# check NAME CONDITION...: the condition is a command.
check() {
	name=$1
	shift
	if "$@" >"$work/check" 2>&1; then
		echo "ok node: command $name"
	else
		echo "not ok node: command $name # $(tr '\n' ' ' <"$work/check")"
		failed=1
	fi
}
run() { timeout -k 5 30 "$causeway" run --service "$service" "$@"; }
is() { [ "$1" = "$2" ] || { echo "got: $1"; echo "not: $2"; return 1; }; }
has() { case $1 in *"$2"*) return 0 ;; esac; echo "got: $1"; echo "without: $2"; return 1; }
hasnt() { case $1 in *"$2"*) echo "got: $1"; echo "with: $2"; return 1 ;; esac; }
json() { python3 -c 'import json, sys; value = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$1" "$2"; }
status_of() { timeout 10 "$causeway" status --json --service "$1" >"$work/status" && json "$work/status" "value['$2']"; }
# until SECONDS COMMAND...
until_true() {
	tries=$(($1 * 20))
	shift
	while ! "$@" >/dev/null 2>&1; do
		tries=$((tries - 1))
		[ "$tries" -gt 0 ] || return 1
		sleep 0.05
	done
}

# ---- becoming the command
run sh -c 'exit 7'
check exit_status is $? 7
run sh -c 'kill -TERM $$' 2>/dev/null
check killed_by_signal is $? 143
check streams is "$(echo in | run sh -c 'read line; echo "$line" out; echo err >&2' 2>&1)" "in out
err"
timeout -k 5 30 sh -c 'echo $$; exec "$@"' sh "$causeway" run --service "$service" sh -c 'echo $$' >"$work/pids"
check same_process is "$(sort -u "$work/pids" | wc -l)" 1
check no_more_descriptors is "$(run sh -c 'ls /proc/$$/fd')" "$(sh -c 'ls /proc/$$/fd')"
check arguments is "$(run -- printf '%s|' a 'b c' '' -x)" "$(printf '%s|' a 'b c' '' -x)"
has_library() { has "$(run env)" "LD_PRELOAD=$work/bin/libcauseway.so"; }
check preloads_the_library has_library
keeps_others() { has "$(LD_PRELOAD=/other.so run env 2>/dev/null)" "LD_PRELOAD=/other.so:$work/bin/libcauseway.so"; }
check keeps_other_preloads keeps_others
nested() { is "$(run "$causeway" run --service "$service" printenv LD_PRELOAD)" "$work/bin/libcauseway.so"; }
check nested_runs_preload_once nested

# ---- mistakes
run /nonexistent/command 2>"$work/err"
check not_found is $? 127
check not_found_says has "$(cat "$work/err")" "/nonexistent/command: No such file"
run /etc/passwd 2>/dev/null
check not_executable is $? 126
run 2>/dev/null
check no_command is $? 125
run --no-such-option true 2>/dev/null
check unknown_option is $? 125
out=$(run --spin-us=fast echo ran 2>"$work/err")
check wrong_value is $? 125
check wrong_value_runs_nothing is "$out" ""
check wrong_value_says has "$(cat "$work/err")" 'CAUSEWAY_SPIN_US: "fast" is not a whole number'
timeout 10 "$causeway" no-such-command 2>/dev/null
check unknown_command is $? 125

# ---- settings
check option_with_blank is "$(run --spin-us 9 printenv CAUSEWAY_SPIN_US)" 9
check option_with_equals is "$(run --after-messages=3 printenv CAUSEWAY_AFTER_MESSAGES)" 3
check no_move is "$(run --no-move printenv CAUSEWAY_MOVE)" no
options_are_told() {
	help=$(run --help)
	sed -n 's/^X(\([a-z_]*\),.*/\1/p' "$here/sockets/options.def" | tr _ - >"$work/options"
	while read -r option; do has "$help" "--$option=" || return 1; done <"$work/options"
	for option in --report --no-move --service --verbose; do has "$help" "$option" || return 1; done
}
check help_tells_every_option options_are_told

printf '# mine\nspin_us = 20\nmoove = yes\n' >"$work/broken.conf"
out=$(CAUSEWAY_CONFIG=$work/broken.conf run sh -c 'echo ran; printenv CAUSEWAY_MOVE' 2>"$work/err")
check broken_policy_goes_on is "$out" "ran
no"
check broken_policy_says has "$(cat "$work/err")" "$work/broken.conf:3: there is no setting \"moove\""
CAUSEWAY_CONFIG=$work/nothing.conf run true 2>"$work/err"
check missing_policy_says has "$(cat "$work/err")" "$work/nothing.conf: can't be opened"

# ---- the service it starts
pid=$(status_of "$service" pid)
check service_was_started test -d "/proc/$pid"
check service_directory is "$(readlink "/proc/$pid/cwd")" /
check service_streams is "$(readlink "/proc/$pid/fd/0" "/proc/$pid/fd/1" "/proc/$pid/fd/2" | sort -u)" /dev/null
check service_group is "$(ps -o sid= -p "$pid" | tr -d ' ')" "$(ps -o pgid= -p "$pid" | tr -d ' ')"
check service_is_no_child_group test "$(ps -o pgid= -p "$pid" | tr -d ' ')" != "$(ps -o pgid= -p $$ | tr -d ' ')"
timeout 20 env CAUSEWAY_MOVE=yes LD_PRELOAD="$work/bin/libcauseway.so" "$causeway" run --service "$service/two" true
pid=$(status_of "$service/two" pid)
check service_environment hasnt "$(tr '\0' '\n' <"/proc/$pid/environ")" CAUSEWAY_
check service_is_not_preloaded hasnt "$(cat "/proc/$pid/maps")" libcauseway
timeout 10 "$causeway" stop --service "$service/two"
check stop_ends_it is $? 0
check stop_ended_it until_true 10 test ! -d "/proc/$pid"
timeout 10 "$causeway" stop --service "$service/two" 2>/dev/null
check stop_of_nothing is $? 1
pipe_ends() { timeout 20 sh -c '"$1" run --service "$2" true | cat' sh "$causeway" "$service/two"; }
check service_keeps_no_pipe_open pipe_ends
timeout 10 "$causeway" stop --service "$service/two"
for _ in 1 2 3 4 5 6 7 8; do timeout 20 "$causeway" run --service "$service/two" true & done
wait
one_service() {
	count=0
	for exe in /proc/[0-9]*/exe; do
		[ "$(readlink "$exe" 2>/dev/null)" = "$work/bin/causewayd" ] || continue
		tr '\0' ' ' <"${exe%exe}cmdline" | grep -q -- "--name $service/two " && count=$((count + 1))
	done
	[ "$count" = 1 ]
}
check eight_starts_make_one_service until_true 10 one_service

mkdir "$work/bare"
cp "$causeway" "$work/bare/"
out=$(timeout 20 "$work/bare/causeway" run --service "$service/none" sh -c 'echo "ran ${LD_PRELOAD-}"' 2>&1)
check without_anything_it_runs is "$out" "ran "
err=$(timeout 20 "$work/bare/causeway" run --verbose --service "$service/none" true 2>&1)
check verbose_says_no_service has "$err" "causewayd is not installed beside causeway"
check verbose_says_no_library has "$err" "libcauseway.so is neither beside causeway"
check named_library is "$(CAUSEWAY_LIBRARY=$work/bin/libcauseway.so timeout 20 "$work/bare/causeway" run printenv LD_PRELOAD)" "$work/bin/libcauseway.so"
err=$(timeout 20 "$work/bare/causeway" run --report "$work/never" --service "$service/none" echo ran 2>&1)
check report_without_service_says has "$err" "no report will be written"
check report_without_service_runs has "$err" ran

# ---- reports
report_has_all_keys() {
	run --report "$work/report" sh -c 'true; true' || return 1
	until_true 20 json "$work/report" value || { echo "no report"; return 1; }
	is "$(json "$work/report" "sorted(value['sockets'])")" "['demoted', 'kernel', 'made', 'moved']" &&
		is "$(json "$work/report" "sorted(value['bytes'])")" "['kernel_in', 'kernel_out', 'ring_in', 'ring_out']" &&
		is "$(json "$work/report" "type(value['reasons']).__name__")" dict || return 1
	for key in processes messages $(sed -n 's/^X(\([a-z_]*\),.*/\1/p' "$here/sync/counters.def" | grep -v '^bytes_'); do
		is "$(json "$work/report" "type(value['$key']).__name__")" int || return 1
	done
}
check report_has_all_keys report_has_all_keys
nobody_has() { ! ls -l /proc/[0-9]*/fd 2>/dev/null | grep -q -F -- "-> $1"; }
check report_is_let_go until_true 20 nobody_has "$work/report"

# While a run goes on its keeper holds none of the command's pipes.
report_holds_no_pipe() {
	out=$(run --report "$work/held.json" sh -c '
		{ tries=200; while [ ! -e "$0/go" ]; do sleep 0.1; [ $((tries -= 1)) -gt 0 ] || { touch "$0/late"; break; }; done; } >/dev/null 2>&1 &
		echo out' "$work")
	touch "$work/go"
	is "$out" out && until_true 20 json "$work/held.json" value && is "$(ls "$work/late" 2>/dev/null)" ""
}
check report_holds_no_pipe report_holds_no_pipe

report_of_a_killed_service() {
	"$work/bin/causewayd" --name "$service/killed" >"$work/killed.log" 2>&1 &
	killed=$!
	until_true 20 status_of "$service/killed" programs || { echo "no service"; return 1; }
	timeout -k 5 60 "$causeway" run --service "$service/killed" --report "$work/killed.json" sh -c 'touch "$0"; exec sleep 50' "$work/begun" &
	command=$!
	until_true 20 test -e "$work/begun" || { echo "did not begin"; return 1; }
	kill -KILL "$killed"
	until_true 20 json "$work/killed.json" value || { echo "no report"; return 1; }
	is "$(json "$work/killed.json" "sorted(value)")" "['error', 'incomplete']" &&
		has "$(json "$work/killed.json" "value['error']")" killed && kill "$command" && until_true 20 nobody_has "$work/killed.json"
}
check report_of_a_killed_service report_of_a_killed_service

# One that is ended has the word, and its keeper adds nothing.
report_of_a_stopped_service() {
	"$work/bin/causewayd" --name "$service/stopped" >"$work/stopped.log" 2>&1 &
	until_true 20 status_of "$service/stopped" programs || { echo "no service"; return 1; }
	timeout -k 5 60 "$causeway" run --service "$service/stopped" --report "$work/stopped.json" sh -c 'touch "$0"; exec sleep 50' "$work/begun2" &
	command=$!
	until_true 20 test -e "$work/begun2" || { echo "did not begin"; return 1; }
	timeout 10 "$causeway" stop --service "$service/stopped" || return 1
	until_true 20 nobody_has "$work/stopped.json" || { echo "still open"; return 1; }
	kill "$command"
	is "$(json "$work/stopped.json" "value['incomplete'], value['sockets']['made']")" "(True, 0)"
}
check report_of_a_stopped_service report_of_a_stopped_service
# A program connected to itself. It talks until told, says how many bytes went each way, and waits to be looked at.
cat >"$work/talk.py" <<'PYTHON'
import os, socket, sys, time
listener = socket.create_server(("127.0.0.1", 0))
one = socket.create_connection(listener.getsockname())
other, _ = listener.accept()
sent = 0
while sent < 20000 or not os.path.exists(sys.argv[1]):
    for a, b in ((one, other), (other, one)):
        a.sendall(b"x" * 100)
        got = 0
        while got < 100:
            got += len(b.recv(100 - got))
    sent += 100
    time.sleep(0.001)
print(sent, flush=True)
sys.stdin.read()
PYTHON
python=$(python3 -c 'import sys; print(sys.executable)') # not what starts it
mkfifo "$work/hold"
timeout 60 "$causeway" run --service "$service" --report "$work/talk.json" "$python" "$work/talk.py" "$work/enough" <"$work/hold" >"$work/talked" &
talker=$!
exec 5>"$work/hold"
moved_sockets() {
	timeout 10 "$causeway" ss --json --service "$service" >"$work/ss" || return 1
	is "$(json "$work/ss" "sum(one['transport'] == 'shm' for one in value)")" 2
}
talk_is_listed() {
	until_true 20 moved_sockets || { echo "it was not moved"; return 1; }
	touch "$work/enough"
	until_true 20 test -s "$work/talked" || { echo "it did not end talking"; return 1; }
	moved_sockets || return 1
	sent=$(cat "$work/talked")
	is "$(json "$work/ss" "sorted((one['command'][:6], one['bytes']['ring_in'] + one['bytes']['kernel_in']) for one in value if one['transport'] == 'shm')")" \
		"[('python', $sent), ('python', $sent)]" &&
		is "$(json "$work/ss" "sorted(one['local'] for one in value if one['transport'] == 'shm') == sorted(one['remote'] for one in value if one['transport'] == 'shm')")" True &&
		is "$(json "$work/ss" "[one['reason'] for one in value if one['transport'] == 'tcp']")" "['not_connected']"
}
check ss_lists_moved_sockets talk_is_listed
talk_is_reported() {
	until_true 20 json "$work/talk.json" value || { echo "no report"; return 1; }
	sent=$(cat "$work/talked")
	is "$(json "$work/talk.json" "value['processes'], value['sockets'], value['reasons']")" \
		"(1, {'made': 3, 'moved': 2, 'demoted': 0, 'kernel': 1}, {'not_connected': 1})" &&
		is "$(json "$work/talk.json" "value['bytes']['ring_in'] + value['bytes']['kernel_in'], value['bytes']['ring_out'] + value['bytes']['kernel_out']")" "($((2 * sent)), $((2 * sent)))" &&
		is "$(json "$work/talk.json" "value['bytes']['ring_in'] > 0 and value['messages'] >= 800")" True
}
exec 5>&-
wait "$talker"
check report_of_moved_sockets talk_is_reported
run --report /nonexistent/report true 2>"$work/err"
check report_that_cannot_be is $? 0
check report_that_cannot_be_says has "$(cat "$work/err")" "/nonexistent/report: No such file"

# ---- the others
ss_table() { has "$(timeout 10 "$causeway" ss --service "$service" | head -1)" "TRANSPORT"; }
check ss_table ss_table
ss_json() { timeout 10 "$causeway" ss --json --service "$service" >"$work/ss" && is "$(json "$work/ss" 'type(value).__name__')" list; }
check ss_json ss_json
timeout 10 "$causeway" ss --service "$service/none" 2>"$work/err"
check ss_without_service is $? 1
check ss_without_service_says has "$(cat "$work/err")" "no service answers"
doctor_json() {
	timeout 20 "$causeway" doctor --json --service "$service" >"$work/doctor"
	is "$(json "$work/doctor" "sorted({one['finding'] for one in value} - {'ok', 'note', 'missing'})")" "[]" &&
		is "$(json "$work/doctor" "[one['finding'] for one in value if one['name'] == 'service']")" "['ok']"
}
check doctor_json doctor_json
doctor_finds() { CAUSEWAY_CONFIG=$work/broken.conf timeout 20 "$causeway" doctor --service "$service" >"$work/doctor"; is $? 1 && has "$(cat "$work/doctor")" "broken.conf:3"; }
check doctor_finds_a_broken_policy doctor_finds
check version has "$(timeout 10 "$causeway" --version)" "causeway "
check daemon_help has "$(timeout 10 "$work/bin/causewayd" --help)" "--idle-exit SECONDS"
daemon_refuses() { timeout 10 "$work/bin/causewayd" --memory lots 2>"$work/err"; is $? 2 && has "$(cat "$work/err")" "--memory takes bytes"; }
check daemon_refuses_nonsense daemon_refuses

# ---- who is believed
if [ "$alone" != 1 ] || [ "$(id -u)" != 0 ]; then
	for name in own_service system_service_of_root users_take_the_system_service squatter_is_not_believed; do
		echo "skip node: command $name # needs root and a network namespace of its own"
	done
	exit $failed
fi
as_nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
own_service() { is "$(as_nobody timeout 20 "$causeway" run printenv CAUSEWAY_SERVICE)" causeway/user/65534; }
check own_service own_service
root_starts() { is "$(timeout 20 "$causeway" run printenv CAUSEWAY_SERVICE)" causeway/system; }
check system_service_of_root root_starts
users_take() { is "$(as_nobody timeout 20 "$causeway" run printenv CAUSEWAY_SERVICE)" causeway/system; }
check users_take_the_system_service users_take
timeout 10 "$causeway" stop --service causeway/system
squatted() {
	as_nobody timeout 60 "$work/bin/causewayd" --name causeway/system --idle-exit 5 &
	until_true 10 as_nobody "$causeway" status --service causeway/system || { echo "no squatter"; return 1; }
	out=$(timeout 20 "$causeway" run --verbose printenv CAUSEWAY_SERVICE 2>&1)
	as_nobody "$causeway" stop --service causeway/system
	wait
	has "$out" "another user's (65534), and not believed" && hasnt "$out" "causeway/system
"
}
check squatter_is_not_believed squatted
exit $failed
