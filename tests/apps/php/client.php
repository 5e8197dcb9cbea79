<?php
// `client.php PORT`: what it finds is what it prints.
$port = (int)$argv[1];

function content(int $seed, int $size): string {
	mt_srand($seed);
	$block = '';
	for ($i = 0; $i < 1024; $i++)
		$block .= chr(mt_rand(0, 255));
	return substr(str_repeat($block, intdiv($size, 1024) + 1), $seed, $size);
}

function all_of(callable $read, int $size): string {
	$got = '';
	while (strlen($got) < $size) {
		$part = $read($size - strlen($got));
		if ($part === "" || $part === false || $part === null)
			break;
		$got .= $part;
	}
	return $got;
}

function pinged(string $what, callable $write, callable $read): void {
	$good = 0;
	for ($i = 0; $i < 1500; $i++) {
		$sent = content($i % 200, 1 + $i * 7 % 3000);
		$write($sent);
		$good += all_of($read, strlen($sent)) === $sent;
		if ($i % 100 == 0)
			usleep(1000);
	}
	echo "$what: $good whole\n";
}

function connected(int $port): Socket {
	$s = socket_create(AF_INET, SOCK_STREAM, SOL_TCP);
	socket_connect($s, '127.0.0.1', $port);
	return $s;
}

for ($turn = 0; $turn < 3; $turn++) {
	$s = connected($port);
	pinged("extension $turn", fn($d) => socket_write($s, $d), fn($n) => socket_read($s, $n));
	socket_set_option($s, SOL_SOCKET, SO_RCVTIMEO, ['sec' => 0, 'usec' => 20000]);
	echo 'nothing: ', var_export(@socket_read($s, 10), true), ' ', socket_strerror(socket_last_error($s)), "\n";
	socket_write($s, 'peeked');
	$r = [$s];
	$w = $e = null;
	echo 'select: ', socket_select($r, $w, $e, 5), "\n";
	echo 'peek: ', socket_recv($s, $seen, 6, MSG_PEEK | MSG_WAITALL), " $seen\n";
	echo 'read: ', socket_recv($s, $seen, 6, MSG_WAITALL), " $seen\n";
	socket_shutdown($s, 1);
	echo 'end: ', var_export(socket_read($s, 10), true), "\n";
	socket_close($s);
}

for ($turn = 0; $turn < 3; $turn++) {
	$s = connected($port);
	$stream = socket_export_stream($s);
	stream_set_blocking($stream, true);
	$odd = false;
	pinged("both ways $turn",
	       function ($d) use ($s, $stream, &$odd) { ($odd = !$odd) ? socket_write($s, $d) : fwrite($stream, $d); },
	       fn($n) => $odd ? fread($stream, $n) : socket_read($s, $n));
	fclose($stream);
}

for ($turn = 0; $turn < 3; $turn++) {
	$stream = stream_socket_client("tcp://127.0.0.1:$port");
	$imported = socket_import_stream($stream);
	socket_set_option($imported, SOL_TCP, TCP_NODELAY, 1);
	pinged("stream $turn", fn($d) => fwrite($stream, $d), fn($n) => fread($stream, $n));
	$large = content(9, 3000000);
	stream_set_blocking($stream, false);
	$got = '';
	for ($sent = 0; strlen($got) < strlen($large);) {
		$r = [$stream];
		$w = $sent < strlen($large) ? [$stream] : [];
		$e = null;
		if (!stream_select($r, $w, $e, 10))
			break;
		if ($r)
			$got .= fread($stream, 65536);
		if ($w)
			$sent += fwrite($stream, substr($large, $sent, 65536));
	}
	echo 'large: ', var_export($got === $large, true), "\n";
	stream_socket_shutdown($stream, STREAM_SHUT_WR);
	stream_set_blocking($stream, true);
	echo 'end: ', var_export(fread($stream, 10), true), ' ', var_export(feof($stream), true), "\n";
	fclose($stream);
}
