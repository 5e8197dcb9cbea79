#!/bin/bash
# OpenSSH with privilege separation, as root and as another user: logins, exit codes, terminals, scp and sftp each way, re-keying, forwarded
# ports of all kinds, sessions that share a connection, a jump host, sessions that are killed.
. "$(dirname "$0")/lib.sh"

if [ $$ != 1 ]; then
	skip "all of it" "sshd separates privileges as root only, and the other user is there in a mount namespace only"
	exit
fi

size=$((long ? 1 << 30 : 24 << 20))
sshd=$(command -v sshd || echo /usr/sbin/sshd)
mkdir -p -m 755 /run/sshd
file=$work/file
head -c "$size" /dev/urandom >"$file"
chmod 644 "$file"

# A user that is there for this test alone.
guest=causeway-guest home=$work/home
mkdir -m 700 "$home"
chown 64999:64999 "$home"
for table in "passwd:$guest:x:64999:64999::$home:/bin/sh" "group:$guest:x:64999:" "shadow:$guest:*:19000:0:99999:7:::"; do
	cp -p "/etc/${table%%:*}" "$work/${table%%:*}"
	echo "${table#*:}" >>"$work/${table%%:*}"
	mount --bind "$work/${table%%:*}" "/etc/${table%%:*}"
done

for key in host user stranger; do ssh-keygen -q -t ed25519 -N '' -C "$key" -f "$work/$key"; done
echo "server $(cut -d' ' -f1,2 <"$work/host.pub")" >"$work/known"
cat >"$work/sshd_config" <<-END
	HostKey $work/host
	AuthorizedKeysFile $work/user.pub
	StrictModes no
	PermitRootLogin yes
	PasswordAuthentication no
	KbdInteractiveAuthentication no
	UsePAM no
	PidFile none
	PrintMotd no
	PrintLastLog no
	LogLevel ERROR
	MaxSessions 20
	MaxStartups 50
	Subsystem sftp /usr/lib/openssh/sftp-server
END
cat >"$work/ssh_config" <<-END
	Host *
	HostKeyAlias server
	UserKnownHostsFile $work/known
	StrictHostKeyChecking yes
	IdentityFile $work/user
	IdentitiesOnly yes
	BatchMode yes
	LogLevel ERROR
END

server() {
	port=$(free_port)
	start server "$sshd" -D -e -f "$work/sshd_config" -p "$port" -o "ListenAddress=$host"
	wait_for_port "$port"
}

ssh_() { call client ssh -F "$work/ssh_config" -p "$port" "$@"; }

# status COMMAND...: its exit status and all that it printed are a result.
status() {
	local code=0
	"$@" >"$dir/printed" 2>&1 </dev/null || code=$?
	tr -d '\r' <"$dir/printed" | sed -e "s/port $port/port/" -e "s/pid=[0-9]*/pid/" | result
	result "status $code"
}

logged_in() {
	server
	status ssh_ "root@$host" 'echo hello; echo problem >&2'
	status ssh_ "$guest@$host" 'id; pwd; env | grep -v ^SSH_ | sort; exit 7'
	status ssh_ "$guest@$host" 'kill -KILL $$'
	status ssh_ -tt "$guest@$host" 'test -t 0 && test -t 1 && stty -a | grep -o "rows [0-9]*"; exit 3'
	status ssh_ -i "$work/stranger" -o "IdentityFile=$work/stranger" "no-such-user@$host" true
	status ssh_ "$guest@$host" 'exec 1>&- 2>&- 0<&-; exit 5'
	ssh_ "$guest@$host" sha256sum <"$file" | result
	ssh_ "$guest@$host" "cat $file" | sum | result
	local i pids=()
	for i in 1 2 3 4 5 6; do
		ssh_ "$guest@$host" "cat; echo end $i" <<<"session $i" >"$dir/session.$i" &
		pids+=($!)
	done
	wait "${pids[@]}"
	cat "$dir"/session.* | result
}

copied() {
	server
	local to=$home/$side
	call client scp -q -F "$work/ssh_config" -P "$port" "$file" "$guest@$host:$to.scp"
	sum <"$to.scp" | result
	call client scp -q -F "$work/ssh_config" -P "$port" "$guest@$host:$to.scp" "$dir/back"
	sum <"$dir/back" | result
	call client scp -q -O -F "$work/ssh_config" -P "$port" "$guest@$host:$to.scp" "$dir/back"
	sum <"$dir/back" | result
	printf 'put %s %s\nget %s %s\nls -l %s\nrm %s\n' "$file" "$to.sftp" "$to.sftp" "$dir/back" "$to.sftp" "$to.sftp" >"$dir/batch"
	call client sftp -q -F "$work/ssh_config" -P "$port" -b "$dir/batch" "$guest@$host" >"$dir/sftp.log"
	sum <"$dir/back" | result
	ssh_ -o RekeyLimit=8M "$guest@$host" "cat $file" | sum | result
	rm -f "$to.scp" "$dir/back"
}

# A server that echoes until its client has no more to say, and how it is asked.
echo_server() {
	target=$(free_port)
	start target socat -t 30 "TCP-LISTEN:$target,fork,bind=$host" EXEC:cat
	wait_for_port "$target"
}
echoed() { call asker socat -t 30 - "TCP:$host:$1" <"$file" | sum | result; }

forwarded() {
	server
	echo_server
	local by=$(free_port)
	start tunnel ssh -F "$work/ssh_config" -p "$port" -N -o ExitOnForwardFailure=yes -L "$host:$by:$host:$target" "$guest@$host"
	wait_for_port "$by"
	echoed "$by"
	local i pids=()
	for i in 1 2 3 4; do
		for line in 1 2 3 4 5 6 7 8 9; do
			echo "$line of $i"
			sleep 0.02
		done | call asker socat -t 10 - "TCP:$host:$by" >"$dir/lines.$i" &
		pids+=($!)
	done
	wait "${pids[@]}"
	cat "$dir"/lines.* | result
	by=$(free_port)
	start tunnel ssh -F "$work/ssh_config" -p "$port" -N -o ExitOnForwardFailure=yes -R "$host:$by:$host:$target" "$guest@$host"
	wait_for_port "$by"
	echoed "$by"
	by=$(free_port)
	start tunnel ssh -F "$work/ssh_config" -p "$port" -N -D "$host:$by" "$guest@$host"
	wait_for_port "$by"
	local web=$(free_port)
	start target python3 -m http.server --bind "$host" --directory "$work" "$web"
	wait_for_port "$web"
	call asker curl -sS --socks5-hostname "$host:$by" "http://$host:$web/file" | sum | result
}

shared() {
	server
	echo_server
	control=$dir/control
	start tunnel ssh -F "$work/ssh_config" -p "$port" -M -N -S "$control" "$guest@$host"
	local master=$pid i pids=() by=$(free_port)
	within 20 test -S "$control"
	status ssh_ -S "$control" -O check "$guest@$host"
	for i in 1 2 3 4 5; do
		head -c 4000000 "$file" | ssh_ -S "$control" "$guest@$host" 'sha256sum; exit 0' >"$dir/session.$i" &
		pids+=($!)
	done
	wait "${pids[@]}"
	cat "$dir"/session.* | result
	status ssh_ -S "$control" "$guest@$host" 'exit 9'
	ssh_ -S "$control" -O forward -L "$host:$by:$host:$target" "$guest@$host"
	wait_for_port "$by"
	echoed "$by"
	call client scp -q -F "$work/ssh_config" -o "ControlPath=$control" -P "$port" "$guest@$host:$file" "$dir/back"
	sum <"$dir/back" | result
	rm -f "$dir/back"
	ssh_ -S "$control" -O exit "$guest@$host" 2>/dev/null
	local code=0
	wait_end "$master" || code=$?
	result "the master's status $code"
}

jumped() {
	server
	status ssh_ -J "$guest@$host:$port" "root@$host" 'echo behind; exit 4'
	ssh_ -J "$guest@$host:$port" "root@$host" "cat $file" | sum | result
}

# By its server's process, and by its own. Whether the client says that its connection was closed depends on whether it was about to write,
# with the kernel too, and no option keeps it quiet.
killed() {
	server
	status quietly ssh_ "$guest@$host" 'kill -KILL $PPID; sleep 100'
	start victim ssh -F "$work/ssh_config" -p "$port" "$guest@$host" "echo there; exec sleep 15"
	wait_for_line "$dir/victim.log" there
	kill -KILL "$pid"
	within 20 no_sleeper
	status ssh_ "$guest@$host" 'echo still there'
}
quietly() { "$@" 2>"$dir/quiet.log"; }
no_sleeper() { ! pgrep -f '^sshd: '"$guest"; }

for exercise_ in logged_in:logins copied:"scp and sftp" forwarded:"forwarded ports" shared:"sessions that share a connection" jumped:"a jump host" killed:"killed sessions"; do
	with_and_without "${exercise_#*:}" "${exercise_%%:*}"
	reported server "nothing is broken" ".broken == 0"
	case $exercise_ in
	forwarded*) 
		went_by_ring asker 4 "$size" 30
		went_by_ring target 4 "$size" 30
		;;
	esac
done
