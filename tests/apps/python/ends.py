"""What the exercises share. Each is a program `NAME.py server PORT` or `NAME.py client PORT`; the client prints what it found."""

import hashlib
import random
import socket
import struct
import sys

HOST = "127.0.0.1"


def content(seed, size):
    return random.Random(seed).randbytes(size)


def digest(data):
    return hashlib.sha256(data).hexdigest()[:16]


def read_exactly(sock, size):
    parts = []
    while size:
        part = sock.recv(min(size, 1 << 20))
        if not part:
            raise EOFError(f"{size} bytes are missing")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def send_frame(sock, data):
    sock.sendall(struct.pack("!I", len(data)) + data)


def read_frame(sock):
    """A frame, or None at the end of the stream."""
    first = sock.recv(1)
    if not first:
        return None
    (size,) = struct.unpack("!I", first + read_exactly(sock, 3))
    return read_exactly(sock, size)


def echo_frames(sock, frames=None):
    """Sends back each frame with its length before it, until the end or so many."""
    while frames is None or frames > 0:
        data = read_frame(sock)
        if data is None:
            return
        send_frame(sock, data[::-1])
        if frames is not None:
            frames -= 1


def exchange(sock, seed, sizes):
    """Sends frames and checks the answers; returns their digest."""
    seen = hashlib.sha256()
    for number, size in enumerate(sizes):
        data = content(seed * 1000 + number, size)
        send_frame(sock, data)
        back = read_frame(sock)
        if back != data[::-1]:
            raise ValueError(f"frame {number} of {size} bytes came back wrong")
        seen.update(back)
    return seen.hexdigest()[:16]


SIZES = [0, 1, 10, 100, 1000, 10, 10, 10, 50000, 3, 1 << 20, 7, 7, 7, 200000, 1]


def connected(port):
    return socket.create_connection((HOST, port), timeout=60)


def listener(port):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((HOST, port))
    sock.listen(128)
    return sock


def main(server, client):
    {"server": server, "client": client}[sys.argv[1]](int(sys.argv[2]))
