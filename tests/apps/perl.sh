#!/bin/bash
# Perl's sockets: a server that forks for each connection, one with children that share its listener, one with select; at the other end lines by
# Perl's buffers, alarms that end a read, signals all the time, flags, urgent data, resets, programs by inetd's way, inherited connections.
. "$(dirname "$0")/lib.sh"

exercised() {
	local port=$(free_port)
	start server perl "$top/tests/apps/perl/server.pl" "$1" "$port"
	wait_for_port "$port"
	call client perl "$top/tests/apps/perl/client.pl" "$1" "$port" | result
	stop "$pid"
}

with_and_without "a server that forks" exercised forking
reported server "streams are moved" ".moved >= 4 and .ring >= 50000 and .broken == 0"
reported client "streams are moved" ".moved >= 4 and .ring >= 50000 and .broken == 0"
# All of them are brief.
export CAUSEWAY_PATIENCE=no
with_and_without "children that share a listener" exercised preforked
reported client "streams are moved" ".moved >= 5 and .ring >= 5000 and .broken == 0"
unset CAUSEWAY_PATIENCE
with_and_without "a server with select" exercised selecting
for role in server client; do reported "$role" "streams are moved" ".moved >= 10 and .ring >= 50000 and .broken == 0"; done
