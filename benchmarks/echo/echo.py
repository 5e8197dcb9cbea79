"""Round trips of 100 bytes: `echo.py server PORT` and `echo.py client PORT SECONDS`, which prints how many a second."""

import socket
import sys
import time

SIZE = 100


def exactly(connection, size):
    got = b""
    while len(got) < size and (part := connection.recv(size - len(got))):
        got += part
    return got


def serve(port):
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            connection, _ = listener.accept()
            with connection:
                while data := connection.recv(65536):
                    connection.sendall(data)


def ask(port, seconds):
    with socket.create_connection(("127.0.0.1", port)) as connection:
        message, count, begin = b"x" * SIZE, 0, time.monotonic()
        while (passed := time.monotonic() - begin) < seconds:
            connection.sendall(message)
            assert exactly(connection, SIZE) == message
            count += 1
    print(count / passed)


if sys.argv[1] == "server":
    serve(int(sys.argv[2]))
else:
    ask(int(sys.argv[2]), float(sys.argv[3]))
