"""Sockets passed to other processes by SCM_RIGHTS, before their first byte and in the middle of a stream, and passed back."""

import os
import socket

import ends

WORKERS = 2


def work(channel):
    """Serves frames of each socket that is passed in, then passes it back."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, 16, 4)
        if not message:
            return
        for descriptor in descriptors:
            with socket.socket(fileno=descriptor) as sock:
                ends.echo_frames(sock, message[0])
                socket.send_fds(channel, [b"back"], [sock.fileno()])


def start_worker():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        ours.close()
        work(theirs)
        os._exit(0)
    theirs.close()
    return ours


def server(port):
    workers = [start_worker() for _ in range(WORKERS)]
    accepting = ends.listener(port)
    while True:
        sock, _ = accepting.accept()
        frames, handovers = ends.read_exactly(sock, 2)
        ends.echo_frames(sock, frames)
        for handover in range(handovers):
            channel = workers[handover % WORKERS]
            socket.send_fds(channel, [bytes([frames])], [sock.fileno()])
            sock.close()
            _, (descriptor,), _, _ = socket.recv_fds(channel, 16, 1)
            sock = socket.socket(fileno=descriptor)
        sock.sendall(b"end")
        sock.close()


def client(port):
    for frames in (1, 10, 100):
        for handovers in (1, 2, 5):
            with ends.connected(port) as sock:
                sock.sendall(bytes([frames, handovers]))
                seen = [ends.exchange(sock, h, [h * 100 + i * 20 for i in range(frames)]) for h in range(handovers + 1)]
                print(frames, handovers, *seen, ends.read_exactly(sock, 3), sock.recv(1))


ends.main(server, client)
