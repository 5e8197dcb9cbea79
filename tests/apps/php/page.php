<?php
// Of PHP's own web server: as many bytes as are asked for, or how many were posted.
header('Content-Type: application/octet-stream');
echo $_SERVER['REQUEST_METHOD'] === 'POST' ? strlen(file_get_contents('php://input')) : str_repeat('0123456789', intdiv((int)$_GET['size'], 10));
