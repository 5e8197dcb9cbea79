"""Sockets inherited by subprocesses, before their first byte and in the middle of a stream: forked, as standard input, by number."""

import os
import socket
import subprocess
import sys

import ends

FRAMES = 200


def in_child(sock):
    """The rest of the stream is served by a forked child."""
    if os.fork() == 0:
        ends.echo_frames(sock)
        os._exit(0)


def as_standard_streams(sock):
    """By a program that knows nothing of sockets."""
    return subprocess.Popen(["cat"], stdin=sock, stdout=sock)


def by_number(sock):
    return subprocess.Popen([sys.executable, __file__, "serve", str(sock.fileno())], pass_fds=[sock.fileno()])


def by_closing_all(sock):
    """The child closes every other descriptor, whatever it is."""
    return subprocess.Popen([sys.executable, __file__, "serve", "0"], stdin=sock, close_fds=True)


WAYS = [in_child, as_standard_streams, by_number, by_closing_all]


def serve(number):
    os.closerange(3, number)
    os.closerange(max(3, number + 1), 5000)
    ends.echo_frames(socket.socket(fileno=number))


def server(port):
    accepting = ends.listener(port)
    children = []
    while True:
        sock, _ = accepting.accept()
        way, frames = ends.read_exactly(sock, 2)
        ends.echo_frames(sock, frames)
        sock.sendall(b"!")
        child = WAYS[way](sock)
        if child:
            children.append(child)
        sock.close()


def echoed(sock, seed):
    """As cat echoes: the bytes themselves."""
    for i in range(FRAMES):
        data = ends.content(seed + i, 1 + i * 37 % 9000)
        sock.sendall(data)
        if ends.read_exactly(sock, len(data)) != data:
            raise ValueError(f"message {i}")
    return "echoed"


def client(port):
    for way, f in enumerate(WAYS):
        for frames in (0, 1, 100):
            with ends.connected(port) as sock:
                sock.sendall(bytes([way, frames]))
                before = ends.exchange(sock, way, [i * 50 for i in range(frames)])
                if ends.read_exactly(sock, 1) != b"!":
                    raise ValueError("not handed over")
                after = echoed(sock, way) if f is as_standard_streams else ends.exchange(sock, 100 + way, ends.SIZES * 3)
                sock.shutdown(socket.SHUT_WR)
                print(f.__name__, frames, before, after, sock.recv(1))


if sys.argv[1] == "serve":
    serve(int(sys.argv[2]))
else:
    ends.main(server, client)
