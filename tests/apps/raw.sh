#!/bin/bash
# Programs that make system calls by instructions of their own: Go (dynamic, position-independent, static) and C (dynamic, static), all against
# a Go server; what `causeway run --explain` says of programs; and what is not moved.
. "$(dirname "$0")/lib.sh"

sources=$top/tests/apps/raw
export GOCACHE=$work/gocache GO111MODULE=off GOFLAGS=
build_go() { (cd "$sources" && CGO_ENABLED=$2 go build -o "$work/$1" "${@:3}"); }
c() { "${CC:-gcc}" -O2 -Wall -Wextra -Werror -Wno-unused-parameter -o "$work/$1" "$sources/$2" "${@:3}" -pthread; }
built=1
build_go go-dynamic 1 echo.go web.go && build_go go-static 0 echo.go web.go && build_go go-pie 0 -buildmode=pie echo.go noweb.go &&
	c c-dynamic instructions.c && c c-static instructions.c -static &&
	c c-dynamic-jumps instructions.c -DAS_GO && c c-static-jumps instructions.c -DAS_GO -static &&
	c dispatched-dynamic dispatched.c && c dispatched-static dispatched.c -static &&
	c signals-dynamic signals.c && c signals-static signals.c -static &&
	c signals-dynamic-jumps signals.c -DAS_GO && c signals-static-jumps signals.c -DAS_GO -static &&
	c jumped-dynamic jumped.c && c jumped-static jumped.c -static &&
	c first first.c -static -nostdlib && c places places.c -static || built=0
if [ "$built" = 0 ]; then
	not_ok "the programs are built" "see above"
	exit 1
fi

# served SERVER CLIENT [TIMES [MORE]]: a server of one kind, and a client of another that exercises it.
served() {
	local port=$(free_port) i
	start server "$work/$1" serve "$host:$port"
	wait_for_port "$port"
	for i in $(seq "${3:-1}"); do
		case $2 in
		go-*) call client "$work/$2" exercise "$host:$port" | result ;;
		c-*) call client "$work/$2" "$port" ${4-} | result ;;
		esac
	done
}

repeats=3
[ "$long" = 0 ] || repeats=30
with_and_without "dynamic Go" served go-dynamic go-dynamic "$repeats"
went_by_ring client 20 2000000 20
with_and_without "static Go" served go-static go-static "$repeats"
went_by_ring client 20 2000000 20
with_and_without "position-independent Go without libc" served go-pie go-pie "$repeats"
went_by_ring client 20 2000000 20
with_and_without "C with instructions" served go-dynamic c-dynamic
went_by_ring client 5 1000000 20
reported client "io_uring by an instruction is seen" '.reasons.splice >= 1'
with_and_without "static C" served go-static c-static
went_by_ring client 5 1000000 20

with_and_without "C with instructions as Go's" served go-dynamic c-dynamic-jumps
went_by_ring client 5 1000000 20
with_and_without "static C with instructions as Go's" served go-static c-static-jumps
went_by_ring client 5 1000000 20
# By signals alone, as where there is no room for jumps.
without_jumps() { CAUSEWAY_RAW_JUMPS=no served "$@"; }
with_and_without "Go without jumps" without_jumps go-dynamic go-static
went_by_ring client 20 2000000 20

for kind in dynamic static; do
	with_and_without "$kind C with a child of other numbers" served go-dynamic "c-$kind" 1 numbers
done

signalled() { call alone "$work/$1" | result; }
for kind in dynamic static; do
	with_and_without "$kind C with signals and filters" signalled "signals-$kind"
	with_and_without "$kind C with signals and filters, as Go's" signalled "signals-$kind-jumps"
done

# Where a handler runs and what it sees is the kernel's in static programs (raw_signals.c).
jumped() { call alone "$work/jumped-$1" "${@:2}" | result; }
jumped_by_signals() { CAUSEWAY_RAW_JUMPS=no jumped "$@"; }
with_and_without "static C by jumps" jumped static
with_and_without "dynamic C by jumps" jumped dynamic unseen
with_and_without "static C by no jumps" jumped_by_signals static

with_and_without "static C with handlers on its own stack" signalled places
with_and_without "registers where a program begins" signalled first

"${CC:-gcc}" -O2 -Wall -Wextra -Werror -Wno-unused-parameter -static -o "$work/cancelled-glibc" "$sources/cancelled.c" -pthread
"${MUSL_CC:-musl-gcc}" -O2 -w -static -o "$work/cancelled-musl" "$sources/cancelled.c"
for kind in glibc musl; do
	if [ -x "$work/cancelled-$kind" ]; then
		with_and_without "threads cancelled in static $kind" signalled "cancelled-$kind"
	else
		skip "threads cancelled in static $kind" "not built"
	fi
done

# A static program that a script starts goes by the loader too.
scripted() {
	local port=$(free_port)
	printf '#!/bin/sh\n"%s/go-static" serve "$1" &\necho $! >"%s/pid"\nwait\n' "$work" "$dir" >"$dir/script"
	chmod 755 "$dir/script"
	start server "$dir/script" "$host:$port"
	wait_for_port "$port"
	call client "$work/go-static" exercise "$host:$port" | result
	kill "$(cat "$dir/pid")"
}
with_and_without "static Go by a script" scripted
went_by_ring server 20 1000000 10

# What the dispatch needs for itself (docs/caveats.md).
dispatched() {
	printf '%s\n' "clone3: $1" "SIGSYS sent: 1" "SIGUSR1 blocked: 1" "SIGSYS blocked: $2" "on the small stack: $3" "ARCH_SET_GS: $4" \
		"dispatch of its own: $5" \
		"/proc/self/exe: the program"
}
for kind in dynamic static; do
	[ "$baseline" = 1 ] || same "$kind: dispatched" "$(dispatched -38 0 0 -1 "-22 -1")" "$("$build/causeway" run --service "$service" -- "$work/dispatched-$kind" 2>&1)"
	same "$kind: by the kernel" "$(dispatched 0 1 1 0 "0 0")" "$("$work/dispatched-$kind" 2>&1)"
done

# has_jumps PROGRAM [OPTION...]: whether there is memory where its instructions are led to.
has_jumps() {
	local port=$(free_port) pid
	"$build/causeway" run --service "$service" "${@:2}" -- "$work/$1" serve "$host:$port" &
	pid=$!
	wait_for_port "$port"
	if grep -q 'r-xp 00000000 00:00 0 *$' "/proc/$pid/maps"; then echo yes; else echo no; fi
	kill "$pid"
	wait "$pid" 2>/dev/null
}
if [ "$baseline" = 1 ]; then
	skip "jumps" "all is by the kernel"
elif ! grep -qw fsgsbase /proc/cpuinfo || ! grep -qw xsavec /proc/cpuinfo; then
	skip "jumps" "this processor has no rdgsbase or xsavec"
else
	for kind in dynamic static pie; do
		same "$kind Go is led by jumps" yes "$(has_jumps "go-$kind")"
		same "$kind Go isn't" no "$(has_jumps "go-$kind" --raw-jumps=no)"
	done
fi

# raw_calls = no: the same results by the kernel.
switched_off() { CAUSEWAY_RAW_CALLS=no served go-dynamic go-static; }
with_and_without "left alone" switched_off
reported server "nothing is moved" '.moved == 0'

# The oracle's scenarios in a static program: each call of its libc is an instruction of its own. All of them take minutes.
if [ "$baseline" = 0 ]; then
	some='^(raw|children)/'
	[ "$long" = 0 ] || some=''
	"$top/tests/oracle/run" --build "$build" --service "$service" --static --walks 0 --manners awake --only "$some"
fi

# way PROGRAM WANTED: what --explain says is done with it.
way() { same "explain: $1" "$2" "$("$build/causeway" run --explain --json -- "$work/$1" 2>&1 | jq -r .way)"; }
way go-dynamic raw
way go-pie raw
way go-static loader
way c-dynamic raw
way c-static loader
"${CC:-gcc}" -O2 -w -static -Wl,-Ttext-segment=0x58000000 -o "$work/c-elsewhere" "$sources/instructions.c" -pthread
way c-elsewhere kernel
ln -s /bin/true "$work/by-libc"
way by-libc preload
printf '#!%s/go-dynamic\n' "$work" >"$work/script" && chmod 755 "$work/script"
way script raw
# Files that are no programs, or pretend to be: an answer, and no crash.
head -c 1000 "$work/c-static" >"$work/cut" && head -c 4096 /dev/urandom >"$work/noise" && cp "$work/c-static" "$work/headers"
printf '\377\377' | dd of="$work/headers" bs=1 seek=56 conv=notrunc status=none
chmod 755 "$work"/{cut,noise,headers}
for name in cut headers; do
	"$build/causeway" run --explain --json -- "$work/$name" | jq -e .way >/dev/null
	same "explain: $name" "0 0" "${PIPESTATUS[*]}"
done
way noise preload # the shell's
"$build/causeway" run --explain -- "$work/nowhere" >/dev/null
same "explain: nowhere" 127 $?
if [ "$(id -u)" = 0 ] && id nobody >/dev/null 2>&1; then
	cp "$work/c-dynamic" "$work/setuid" && chown nobody "$work/setuid" && chmod 4755 "$work/setuid"
	way setuid kernel
else
	skip "explain: setuid" "not root"
fi
