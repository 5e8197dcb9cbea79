#!/bin/sh
# The manual pages: made from the tables as they are, without mistakes in their markup, and complete.
# shellcheck disable=SC2317
set -u
cd "$(dirname "$0")/../.." || exit 2
failed=0
check() {
	name=$1
	shift
	if found=$("$@" 2>&1); then
		echo "ok node: manual $name"
	else
		echo "not ok node: manual $name # $(echo "$found" | tr '\n' ' ')"
		failed=1
	fi
}
no_warnings() {
	warnings=$(groff -man -Tutf8 -ww -z "$1" 2>&1)
	echo "$warnings"
	[ -z "$warnings" ]
}
# Every name of a table stands in the page, as the head of a paragraph.
tells() {
	sed -n 's/^X(\([a-z_]*\),.*/\1/p' "$2" | while read -r name; do
		case $3 in option) name=--$(echo "$name" | tr _ -) ;; refusal) [ "$name" != none ] || continue ;; esac
		sed 's/\\-/-/g' "$1" | grep -q -- "^\.BR\{0,1\} $name\( \|$\)" || echo "$1 does not tell of $name"
	done | grep . && return 1
	return 0
}
# The commands that causeway knows, from its own help.
commands() {
	"${CAUSEWAY:-build/causeway}" --help | sed -n 's/^  \([a-z]*\)  .*/\1/p' | while read -r name; do
		grep -q "^\.SS causeway $name" docs/man/causeway.1 || echo "causeway.1 does not tell of $name"
	done | grep . && return 1
	return 0
}
# The same for the commands of `causeway cluster` and the like, with their options.
commands_of() {
	"${CAUSEWAY:-build/causeway}" "$1" --help | sed -n 's/^  \([a-z]*\)  .*/\1/p' | while read -r name; do
		grep -q "^\.SS causeway $1 $name" "docs/man/causeway-$1.1" || echo "causeway-$1.1 does not tell of $name"
		"${CAUSEWAY:-build/causeway}" "$1" "$name" --help | sed -n 's/^  \(--[a-z-]*\) .*/\1/p' | while read -r option; do
			sed 's/\\-/-/g' "docs/man/causeway-$1.1" | grep -q "^\.B[IR]\{0,1\} $option" || echo "causeway-$1.1 does not tell of $option"
		done
	done | grep . && return 1
	return 0
}
# The unit names where causewayd is installed; here another program stands for it.
unit() {
	copy=$(mktemp -d)
	sed 's|^ExecStart=[^ ]*|ExecStart=/bin/true|' node/causewayd.service >"$copy/causewayd.service"
	systemd-analyze verify --man=no "$copy/causewayd.service"
	status=$?
	rm -rf "$copy"
	return "$status"
}
check "is as the tables are" docs/man/tables --check
check "tells of every setting" tells docs/man/causeway.conf.5 sockets/options.def setting
check "tells of every counter" tells docs/man/causeway.1 sync/counters.def counter
check "tells of every reason" tells docs/man/causeway.1 sockets/reasons.def reason
check "tells of every option of run" tells docs/man/causeway.1 node/run_options.def option
check "tells of every option of causewayd" tells docs/man/causewayd.8 node/service_options.def option
check "tells of every counter of causewayd" tells docs/man/causewayd.8 node/service_counters.def counter
check "tells of every command" commands
check "tells of every command of causeway cluster" commands_of cluster
check "tells of every command of causeway windows" commands_of windows
check "tells of every reason of refusal" tells docs/man/causeway-cluster.1 node/cluster_reasons.def refusal
for page in docs/man/*.[1458]; do
	if command -v groff >/dev/null; then
		check "$(basename "$page") is well formed" no_warnings "$page"
	else
		echo "skip node: manual $(basename "$page") is well formed # groff is not installed"
	fi
done
if command -v systemd-analyze >/dev/null; then
	check "unit is well formed" unit
else
	echo "skip node: manual unit is well formed # systemd-analyze is not installed"
fi
exit $failed
