#!/bin/bash
# nginx as master with workers and as daemon, as root and as another user: small files and a large one by sendfile, reload under load, upload,
# and as proxy of a second nginx. wrk and curl are the clients, with keep-alive and without.
. "$(dirname "$0")/lib.sh"

seconds=$((long ? 20 : 1))
www=$work/www
mkdir -m 755 "$www"
head -c $((200 << 20)) /dev/urandom >"$www/large"
head -c 100000 /dev/urandom >"$www/middle"
echo hello >"$www/small"
chmod 644 "$www"/*

# configure NAME LINES: $dir/NAME.conf, a server of $www on $port with more lines for the server block; $more goes outside of it.
configure() {
	mkdir -p -m 777 "$dir/$1"
	cat >"$dir/$1.conf" <<-END
		user www-data;
		worker_processes 2;
		pid $dir/$1/pid;
		error_log $dir/$1/error.log;
		events { worker_connections 500; }
		http {
			access_log off;
			sendfile on;
			tcp_nopush ${nopush-off};
			client_max_body_size 1g;
			client_body_temp_path $dir/$1/body;
			proxy_temp_path $dir/$1/proxy;
			fastcgi_temp_path $dir/$1/fastcgi;
			uwsgi_temp_path $dir/$1/uwsgi;
			scgi_temp_path $dir/$1/scgi;
			${more-}
			server {
				listen $host:$port;
				root $www;
				${2-}
			}
		}
	END
}

# server ROLE [LINES]: in the foreground of its own pid.
server() {
	port=$(free_port)
	configure "$1" "${2-}"
	start "$1" nginx -c "$dir/$1.conf" -e "$dir/$1/error.log" -g 'daemon off;'
	wait_for_port "$port"
}

url() { echo "http://$host:$port/$1"; }
curl_() { call client curl -sS --max-time "$limit" "$@"; }

# wrk_ OPTION...: what went wrong, and whether anything went right.
wrk_() {
	call client wrk -t 2 -c 40 -d "$seconds" "$@" >"$dir/wrk"
	cat "$dir/wrk"
	{
		grep -E 'Socket errors|Non-2xx' "$dir/wrk" || true
		grep -c '^ *[1-9][0-9]* requests in' "$dir/wrk"
	} | result
}

get_files() {
	curl_ "$(url small)" "$(url small)" "$(url small)" -w '%{num_connects} %{http_code}\n' | result
	curl_ -H 'Connection: close' "$(url middle)" | sum | result
	curl_ -I "$(url middle)" | grep -i -E '^HTTP|^content-length' | tr -d '\r' | result
	curl_ -r 5000-59999 "$(url middle)" | sum | result
	curl_ "$(url absent)" -o /dev/null -w '%{http_code}\n' | result
}

small_files() {
	server server
	get_files
	wrk_ "$(url small)"
	wrk_ "$(url middle)"
	wrk_ -H 'Connection: close' "$(url small)"
}

large_file() {
	server server
	local i
	for i in 1 2; do curl_ "$(url large)" | sum | result; done
	for i in 1 2 3 4; do curl_ "$(url large)" | sum >"$dir/parallel.$i" & done
	wait $(jobs -p | grep -v -x "$pid")
	cat "$dir"/parallel.* | result
}

# New connections must all be served; those that are kept may be closed by an old worker.
reloaded() {
	server server
	local i generation=$pid
	within 20 handles 1 "$generation"
	call load wrk -t 2 -c 40 -d 4 "$(url middle)" >"$dir/load.log" &
	local load=$!
	for i in 1 2 3 4 5 6; do
		kill -HUP "$generation"
		for _ in 1 2 3 4 5; do curl_ "$(url middle)" | sum | result; done
		sleep 0.3
	done
	wait "$load"
	{ grep -o 'connect [1-9][0-9]*\|timeout [1-9][0-9]*\|Non-2xx.*' "$dir/load.log" || true; } | result
	grep -c '^ *[1-9][0-9]* requests in' "$dir/load.log" | result
	stop "$generation" QUIT
}

put_allowed='location /up/ { root '$work'; dav_methods PUT DELETE; create_full_put_path on; }'

proxied() {
	server back "$put_allowed"
	local more="upstream back { server $host:$port; keepalive 16; }" back="http://$host:$port/"
	mkdir -p -m 777 "$work/up"
	server front "location / { proxy_pass http://back; proxy_http_version 1.1; proxy_set_header Connection ''; }
		location /once/ { proxy_pass $back; } location /stream/ { proxy_pass $back; proxy_buffering off; proxy_request_buffering off; }"
	get_files
	wrk_ "$(url small)"
	wrk_ "$(url once/middle)"
	wrk_ -H 'Connection: close' "$(url small)"
	local way
	for way in "" once/ stream/; do
		curl_ "$(url "${way}large")" | sum | result
		curl_ -T "$www/large" "$(url "${way}up/large")" -w '%{http_code}\n' | result
		sum <"$work/up/large" | result
		curl_ -X DELETE "$(url "${way}up/large")" -w '%{http_code}\n' | result
	done
}

# With Debian's own settings, which cork what they send.
as_daemon() {
	local nopush=on
	port=$(free_port)
	configure server
	call server nginx -c "$dir/server.conf" -e "$dir/server/error.log"
	wait_for_port "$port"
	get_files
	wrk_ "$(url middle)"
	call reload nginx -c "$dir/server.conf" -e "$dir/server/error.log" -s reload
	get_files
	local main=$(cat "$dir/server/pid")
	call reload nginx -c "$dir/server.conf" -e "$dir/server/error.log" -s quit
	within 20 ended "$main"
	{ curl_ "$(url small)" 2>&1 || true; } | grep -o "Failed to connect" | result
}

as_other_user() {
	as_user www-data
	small_files
}

with_and_without "small files" small_files
went_by_ring server 40 10000000 50
went_by_ring client 40 10000000 50
with_and_without "a large file by sendfile" large_file
# Its reader is the slower end: a full ring sends the writer to the kernel, which has more room.
went_by_ring server 6 300000000 25
went_by_ring client 6 300000000 25
with_and_without "reload under load" reloaded
went_by_ring server 40 10000000 50
went_by_ring load 40 10000000 50
with_and_without "proxy of a second nginx" proxied
# One request a connection in two of its parts, so most of those bytes are written before a ring is there.
went_by_ring front 40 1000000000 20
went_by_ring back 10 400000000 3
with_and_without "as daemon" as_daemon
went_by_ring server 40 10000000 50
if [ "$(id -u)" = 0 ]; then
	with_and_without "as another user" as_other_user
	went_by_ring server 40 10000000 50
else
	skip "as another user" "not root"
fi
