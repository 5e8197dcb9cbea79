"""One end of a conversation, content checked: talk.py listen|connect ADDRESS PORT ROUNDS [linger]. Each round the caller sends so many bytes
that depend on the round, and gets their digest back; now and then it pauses, so that both ends sleep. The last line is "done ROUNDS", or
"ended ROUND ERRNO" for a connection that was reset or ended in between; a wrong byte is "wrong"."""
import hashlib
import socket
import sys
import time


def part(number):
    return hashlib.sha256(str(number).encode()).digest() * (1 + number * 37 % 4000)


def take(s, count):
    got = b""
    while len(got) < count:
        piece = s.recv(count - len(got))
        if not piece:
            raise ConnectionResetError(0, "end")
        got += piece
    return got


def listen(address, port, rounds):
    with socket.create_server((address, port)) as door:
        print("ready", flush=True)
        s = door.accept()[0]
    for i in range(rounds):
        got = take(s, len(part(i)))
        if got != part(i):
            raise ValueError(i)
        s.sendall(hashlib.sha256(got).digest())
        yield i


def connect(address, port, rounds):
    s = socket.create_connection((address, port), timeout=60)
    for i in range(rounds):
        s.sendall(part(i))
        if take(s, 32) != hashlib.sha256(part(i)).digest():
            raise ValueError(i)
        if i % 50 == 49:
            time.sleep(0.01)
        yield i


def main():
    role, address, port, rounds = sys.argv[1:5]
    done = 0
    try:
        for i in (listen if role == "listen" else connect)(address, int(port), int(rounds)):
            done = i + 1
            if done == 300 or done % 1000 == 0:
                print("at", done, flush=True)
        print("done", done, flush=True)
    except ValueError as e:
        print("wrong", e, flush=True)
    except OSError as e:
        print("ended", done, e.errno, flush=True)


main()
