"""A threaded server, with clients in threads: frames, lines through a buffered file, time-outs, half-close."""

import socket
import socketserver
from concurrent.futures import ThreadPoolExecutor

import ends


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        what = ends.read_exactly(self.request, 1)
        {b"f": ends.echo_frames, b"l": lines, b"t": late, b"h": whole}[what](self.request)


def lines(sock):
    with sock.makefile("rw", encoding="utf-8", newline="\n") as file:
        for line in file:
            print(line.strip().upper(), file=file, flush=True)


def late(sock):
    """Answers only when asked twice."""
    ends.read_exactly(sock, 2)
    sock.sendall(b"late")


def whole(sock):
    """Reads to the end, then answers in one go."""
    data = bytearray()
    while part := sock.recv(65536):
        data += part
    sock.sendall(bytes(reversed(data)))


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


def server(port):
    with Server((ends.HOST, port), Handler) as s:
        s.serve_forever()


def frames(port, seed):
    with ends.connected(port) as sock:
        sock.sendall(b"f")
        return "".join(ends.exchange(sock, seed, ends.SIZES) for _ in range(3))


def talk(port, seed):
    with ends.connected(port) as sock:
        sock.sendall(b"l")
        with sock.makefile("rw", encoding="utf-8", newline="\n") as file:
            for i in range(500):
                print(f"line {i} of {seed}", file=file, flush=True)
                if file.readline() != f"LINE {i} OF {seed}\n":
                    raise ValueError(f"line {i}")
    return "500 lines"


def time_out(port, seed):
    with ends.connected(port) as sock:
        sock.sendall(b"t")
        for _ in range(2):
            sock.settimeout(0.2)
            try:
                sock.recv(10)
                raise ValueError("it answered too early")
            except socket.timeout:
                pass
            sock.sendall(b"?")
        sock.settimeout(20)
        return ends.read_exactly(sock, 4).decode() + str(sock.recv(10))


def half_close(port, seed):
    data = ends.content(seed, 3000000)
    with ends.connected(port) as sock:
        sock.sendall(b"h")
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        back = ends.read_exactly(sock, len(data))
        return ends.digest(back) + str(back == data[::-1]) + str(sock.recv(10))


def client(port):
    jobs = [(f, port, seed) for seed in range(8) for f in (frames, talk, time_out, half_close)]
    with ThreadPoolExecutor(16) as pool:
        for job, found in zip(jobs, pool.map(lambda job: job[0](*job[1:]), jobs)):
            print(job[0].__name__, job[2], found)


ends.main(server, client)
