#!/bin/bash
# Apache httpd with its prefork and event modules: small files and a large one, kept connections and others, CGI, a proxy to itself,
# uploads, a graceful restart under load. ab and curl are the clients.
. "$(dirname "$0")/lib.sh"

requests=$((long ? 100000 : 800))
modules=/usr/lib/apache2/modules
www=$work/www
mkdir -m 755 "$www" "$www/cgi"
head -c $((long ? 1 << 30 : 20 << 20)) /dev/urandom >"$www/large"
head -c 50000 /dev/urandom >"$www/middle"
echo hello >"$www/small"
printf '#!/bin/sh\necho "Content-Type: text/plain"\necho\necho "$REQUEST_METHOD"\nsha256sum\n' >"$www/cgi/sum"
chmod 644 "$www"/[lms]*
chmod 755 "$www/cgi/sum"

# configure MODULE
configure() {
	mkdir -p -m 777 "$dir/run"
	cat >"$dir/conf" <<-END
		ServerRoot $dir
		ServerName $host
		PidFile $dir/run/pid
		DefaultRuntimeDir $dir/run
		ErrorLog $dir/run/error
		LogLevel crit
		User www-data
		Group www-data
		Listen $host:$port
		LoadModule mpm_$1_module $modules/mod_mpm_$1.so
		LoadModule authz_core_module $modules/mod_authz_core.so
		LoadModule mime_module $modules/mod_mime.so
		LoadModule alias_module $modules/mod_alias.so
		LoadModule proxy_module $modules/mod_proxy.so
		LoadModule proxy_http_module $modules/mod_proxy_http.so
		LoadModule deflate_module $modules/mod_deflate.so
		LoadModule filter_module $modules/mod_filter.so
		$cgi
		TypesConfig /dev/null
		KeepAliveTimeout 2
		MaxKeepAliveRequests 0
		EnableSendfile $sendfile
		StartServers 2
		DocumentRoot $www
		<Directory $www>
			Require all granted
		</Directory>
		<Directory $www/cgi>
			Options +ExecCGI
			SetHandler cgi-script
		</Directory>
		ProxyPass /again/ http://$host:$port/
	END
}

server() {
	port=$(free_port)
	if [ "$1" = prefork ]; then
		cgi="LoadModule cgi_module $modules/mod_cgi.so" sendfile=Off
	else
		cgi="LoadModule cgid_module $modules/mod_cgid.so
			ScriptSock $dir/run/cgid" sendfile=On
	fi
	configure "$1"
	# In a group of its own, since it ends its whole group.
	start server setsid apache2 -f "$dir/conf" -DFOREGROUND
	wait_for_port "$port"
}

url() { echo "http://$host:$port/$1"; }
curl_() { call client curl -sS --max-time "$limit" "$@"; }

# ab OPTION...: what it counts, without its figures. An answer of another length than the first is a failure to it, with the kernel too.
ab_() {
	call client ab -q "$@" 2>&1 |
		grep -E '^(Document Length|Complete requests|Non-2xx)|Total of|(Connect|Receive|Exceptions): [1-9]' | result
}

served() {
	server "$1"
	curl_ "$(url small)" "$(url middle)" "$(url small)" -w '%{num_connects} %{http_code}\n' | sum | result
	curl_ --compressed "$(url middle)" | sum | result
	curl_ -r 5000-19999 "$(url middle)" | sum | result
	curl_ "$(url absent)" -o /dev/null -w '%{http_code}\n' | result
	curl_ "$(url large)" | sum | result
	curl_ "$(url again/large)" | sum | result
	curl_ -T "$www/large" "$(url cgi/sum)" | result
	curl_ --data-binary "@$www/middle" "$(url again/cgi/sum)" | result
	ab_ -n "$requests" -c 10 "$(url small)"
	ab_ -n "$requests" -c 10 -k "$(url small)"
	ab_ -n "$((requests / 2))" -c 20 -k "$(url middle)"
	ab_ -n "$((requests / 4))" -c 10 -k "$(url again/small)"
}

restarted() {
	server "$1"
	local main=$pid i
	within 20 handles 10 "$main"
	call client ab -q -r -n "$((requests * 3))" -c 10 "$(url middle)" >"$dir/load.log" 2>&1 &
	local load=$!
	for i in 1 2 3; do
		kill -USR1 "$main"
		for _ in 1 2 3 4; do curl_ "$(url middle)" | sum | result; done
		sleep 0.3
	done
	wait "$load"
	grep -E '^(Complete requests|Non-2xx)' "$dir/load.log" | result
	stop "$main"
	result "stopped"
}

for module in prefork event; do
	with_and_without "$module" served "$module"
	went_by_ring server 15 60000000 30
	went_by_ring client 15 60000000 30
	with_and_without "$module restarted under load" restarted "$module"
	reported server "nothing is broken" ".broken == 0"
done
