<?php
// `fetch.php PORT`: by curl, one connection for all and several at once.
$port = (int)$argv[1];

function asked(int $port, int $size, ?string $posted = null) {
	$c = curl_init("http://127.0.0.1:$port/page.php?size=$size");
	curl_setopt_array($c, [CURLOPT_RETURNTRANSFER => true, CURLOPT_TIMEOUT => 20]);
	if ($posted !== null)
		curl_setopt_array($c, [CURLOPT_POST => true, CURLOPT_POSTFIELDS => $posted, CURLOPT_HTTPHEADER => ['Expect:']]);
	return $c;
}

foreach ([10, 1000, 100000, 3000000] as $size) {
	$c = asked($port, $size);
	$got = curl_exec($c);
	echo "get $size: ", strlen($got), ' ', md5($got), ' ', curl_getinfo($c, CURLINFO_HTTP_CODE), "\n";
	echo "post $size: ", curl_exec(asked($port, 0, str_repeat('x', $size))), "\n";
}
$multi = curl_multi_init();
for ($i = 1; $i <= 8; $i++)
	curl_multi_add_handle($multi, $handles[$i] = asked($port, $i * 40000));
do {
	$status = curl_multi_exec($multi, $running);
	if ($running)
		curl_multi_select($multi, 5);
} while ($running && $status == CURLM_OK);
foreach ($handles as $i => $c)
	echo "at once $i: ", strlen(curl_multi_getcontent($c)), "\n";
echo 'none there: ', curl_exec(asked(1, 10)) === false ? 'refused' : 'answered', "\n";
