#!/bin/bash
# PHP, whose extensions the linker binds past all that is preloaded (RTLD_DEEPBIND): its sockets extension beside its streams, on the same
# connections too, and curl with its own web server.
. "$(dirname "$0")/lib.sh"

exercised() {
	local port=$(free_port)
	start server /usr/bin/php8.2 "$top/tests/apps/php/server.php" "$port"
	wait_for_port "$port"
	call client /usr/bin/php8.2 "$top/tests/apps/php/client.php" "$port" | result
	stop "$pid"
}

fetched() {
	local port=$(free_port)
	start server env PHP_CLI_SERVER_WORKERS=3 /usr/bin/php8.2 -S "127.0.0.1:$port" -t "$top/tests/apps/php"
	wait_for_port "$port"
	call client /usr/bin/php8.2 "$top/tests/apps/php/fetch.php" "$port" | result
	stop "$pid"
}

with_and_without "the sockets extension and streams" exercised
went_by_ring client 9 20000000 50
went_by_ring server 9 20000000 50
with_and_without "curl and the web server" fetched
went_by_ring client 1 100000 1
