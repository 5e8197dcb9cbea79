#!/bin/bash
# rsync's daemon: a tree each way, its changes alone, deletion, compression, a bandwidth limit, a transfer that is killed and taken up again;
# and rsync under inetd.
. "$(dirname "$0")/lib.sh"

tree=$work/tree
mkdir -p "$tree/small" "$tree/deep/er"
head -c $((long ? 1 << 30 : 30 << 20)) /dev/urandom >"$tree/large"
for ((i = 0; i < 800; i++)); do echo "file $i $(printf "%0$((i % 500))d" 0)" >"$tree/small/$i"; done
ln -s ../large "$tree/deep/link"
ln "$tree/large" "$tree/deep/er/hard"
chmod 600 "$tree/small/7"

# Names, sizes, kinds and contents of a tree.
digest() {
	(cd "$1" && find . -printf '%P %y %m %l\n' | sort && find . -type f -print0 | sort -z | xargs -0 sha256sum) | sum
}

server() {
	mkdir -p "$dir/module"
	cat >"$dir/conf" <<-END
		pid file = $dir/pid
		use chroot = no
		log file = /dev/null
		uid = root
		gid = root
		[module]
			path = $dir/module
			read only = no
		[tree]
			path = $tree
	END
	port=$(free_port)
	if [ "$1" = daemon ]; then
		start server rsync --daemon --no-detach --config="$dir/conf" --port="$port" --address="$host"
	else
		echo "$host:$port stream tcp nowait root $(command -v rsync) rsync --daemon --config=$dir/conf" >"$dir/inetd.conf"
		start server inetd -i "$dir/inetd.conf"
	fi
	wait_for_port "$port"
}
sync() { call client rsync -aH --stats "$@" >"$dir/stats"; grep -E '^(Number of (created |deleted |regular )?files|Total file size)' "$dir/stats" | result; }
at() { echo "rsync://$host:$port/$1/"; }

synchronised() {
	server "$1"
	call client rsync "rsync://$host:$port/" | result
	sync "$tree/" "$(at module)"
	digest "$dir/module" | result
	printf 'changed' | dd of="$dir/module/large" bs=1 seek=5000000 conv=notrunc status=none
	rm -r "$dir/module/small/1"*
	touch "$dir/module/extra"
	sync --delete "$tree/" "$(at module)"
	digest "$dir/module" | result
	sync -z "$(at tree)" "$dir/back"
	digest "$dir/back" | result
	head -c 6000000 "$tree/large" >"$dir/back/large"
	sync --no-whole-file --checksum "$(at tree)" "$dir/back"
	digest "$dir/back" | result
	rm -rf "$dir/back"
	local status=0
	call killed timeout 1 rsync -a --partial --bwlimit=4000 "$(at tree)" "$dir/back" >/dev/null 2>&1 || status=$?
	[ "$status" = 124 ]
	sync --partial "$(at tree)" "$dir/back"
	digest "$dir/back" | result
	local i pids=()
	for i in 1 2 3; do
		call client rsync -aH "$(at tree)" "$dir/parallel.$i" &
		pids+=($!)
	done
	wait "${pids[@]}"
	for i in 1 2 3; do digest "$dir/parallel.$i" | result; done
	if call client rsync "rsync://$host:$port/absent/" >"$dir/failed" 2>&1; then return 1; fi
	grep -o 'ERROR.*' "$dir/failed" | result
	rm -rf "$dir/back" "$dir/module" "$dir"/parallel.*
}

with_and_without "the daemon" synchronised daemon
reported server "nothing is broken" ".broken == 0"
# The receiving side is two processes with one socket, one of which sends and one receives: all of it goes through the kernel from there on.
for role in server client; do reported "$role" "streams are moved" ".moved >= 3 and .broken == 0"; done
with_and_without "under inetd" synchronised inetd
reported server "nothing is broken" ".broken == 0"
