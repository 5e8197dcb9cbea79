<?php
// `server.php PORT`: a process of its own for each connection, and in turn by the three ways in which PHP has sockets: the extension's
// (which the linker binds past all that is preloaded), streams, and streams made of the extension's.
function served(int $way, Socket $c): int {
	$count = 0;
	if ($way == 0) {
		while (($part = socket_read($c, 65536)) !== "" && $part !== false) {
			$count += strlen($part);
			for ($at = 0; $at < strlen($part); $at += $n)
				$n = socket_write($c, substr($part, $at));
		}
		return $count;
	}
	$s = socket_export_stream($c);
	stream_set_blocking($s, true);
	while (true) {
		$part = $way == 1 ? fread($s, 65536) : (socket_recv($c, $part, 65536, 0) ? $part : "");
		if ($part === "" || $part === false)
			return $count;
		$count += strlen($part);
		fwrite($s, $part);
		fflush($s);
	}
}

$listener = socket_create_listen((int)$argv[1]);
for ($turn = 0; ; $turn++) {
	$c = socket_accept($listener);
	$child = pcntl_fork();
	if ($child == 0) {
		socket_close($listener);
		served($turn % 3, $c);
		socket_close($c);
		exit(0);
	}
	socket_close($c);
	while (pcntl_waitpid(-1, $status, WNOHANG) > 0)
		;
}
