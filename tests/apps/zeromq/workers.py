"""Workers over ZeroMQ: `workers.py ventilator PORT` gives tasks to three workers (processes, `workers.py worker PORT`), which give what they
made of them to the sink; in between a poller, multipart messages, encryption, heartbeats, an asyncio loop, a server that comes back."""

import asyncio
import hashlib
import random
import signal
import subprocess
import sys
import threading

import zmq
import zmq.asyncio
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator

HOST = "tcp://127.0.0.1"
TASKS = 2000


def content(seed, size):
    return random.Random(seed).randbytes(size)


def digest(parts):
    seen = hashlib.sha256()
    for part in parts:
        seen.update(part)
    return seen.hexdigest()[:16]


def opened(context, kind, **options):
    s = context.socket(kind)
    s.linger = 60000
    s.rcvtimeo = s.sndtimeo = 60000
    for name, value in options.items():
        setattr(s, name, value)
    return s


def worker(port):
    """Takes tasks until it is told to end, from a second socket, as the guide's examples do."""
    context = zmq.Context()
    tasks, done, control = opened(context, zmq.PULL), opened(context, zmq.PUSH), opened(context, zmq.SUB)
    tasks.connect(f"{HOST}:{port}")
    done.connect(f"{HOST}:{port + 1}")
    control.connect(f"{HOST}:{port + 2}")
    control.subscribe(b"")
    poller = zmq.Poller()
    poller.register(tasks, zmq.POLLIN)
    poller.register(control, zmq.POLLIN)
    done.send_multipart([b"ready", b""])
    while True:
        ready = dict(poller.poll(60000))
        if tasks in ready:
            number, data = tasks.recv_multipart()
            done.send_multipart([number, data[::-1]])
        elif control in ready:
            break
        else:
            raise SystemExit("no task and no end")
    context.destroy(linger=60000)


def tasks_done(port):
    context = zmq.Context()
    tasks, sink, control = opened(context, zmq.PUSH), opened(context, zmq.PULL), opened(context, zmq.XPUB, xpub_verbose=1)
    for number, s in enumerate((tasks, sink, control)):
        s.bind(f"{HOST}:{port + number}")
    workers = [subprocess.Popen([sys.executable, __file__, "worker", str(port)]) for _ in range(3)]
    for _ in workers:
        control.recv()
        assert sink.recv_multipart()[0] == b"ready"

    def give():
        for number in range(TASKS):
            tasks.send_multipart([b"%d" % number, content(number, 1 << 18 if number % 250 == 0 else number % 2000)])

    giver = threading.Thread(target=give)
    giver.start()
    results = {}
    for _ in range(TASKS):
        number, data = sink.recv_multipart()
        results[int(number)] = data
    giver.join()
    control.send(b"end")
    ended = [w.wait(60) for w in workers]
    context.destroy(linger=0)
    for number, data in results.items():
        assert data[::-1] == content(number, len(data)), number
    print("tasks", len(results), digest(results[n] for n in range(TASKS)), ended)


def encrypted(port):
    """CURVE at both ends; a client with another server's key gets nothing."""
    context = zmq.Context()
    auth = ThreadAuthenticator(context)
    auth.start()
    auth.configure_curve(domain="*", location=zmq.auth.CURVE_ALLOW_ANY)
    public, secret = zmq.curve_keypair()
    own_public, own_secret = zmq.curve_keypair()
    server = opened(context, zmq.REP, curve_server=True, curve_secretkey=secret, curve_publickey=public)
    server.bind(f"{HOST}:{port}")

    def echo():
        while (data := server.recv()) != b"end":
            server.send(data[::-1])
        server.send(b"end")

    echoing = threading.Thread(target=echo)
    echoing.start()
    client = opened(context, zmq.REQ, curve_secretkey=own_secret, curve_publickey=own_public, curve_serverkey=public)
    client.connect(f"{HOST}:{port}")
    seen = []
    for number in range(300):
        data = content(number, number * 37 % 5000)
        client.send(data)
        seen.append(client.recv())
        assert seen[-1][::-1] == data
    stranger = opened(context, zmq.REQ, curve_secretkey=own_secret, curve_publickey=own_public, curve_serverkey=own_public)
    failures = stranger.get_monitor_socket(zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)
    stranger.connect(f"{HOST}:{port}")
    refused = failures.poll(30000) != 0
    stranger.disable_monitor()
    client.send(b"end")
    client.recv()
    echoing.join()
    auth.stop()
    context.destroy(linger=0)
    print("encrypted", digest(seen), "a stranger is refused:", refused)


def asynchronous(port):
    """Twenty dealers of one loop, each with requests outstanding; heartbeats go beside them."""

    async def serve(s, count):
        for _ in range(count):
            peer, data = await s.recv_multipart()
            await s.send_multipart([peer, data[::-1]])

    async def ask(context, number):
        s = opened(context, zmq.DEALER, heartbeat_ivl=50, heartbeat_timeout=30000)
        s.connect(f"{HOST}:{port}")
        seen = []
        for turn in range(20):
            wanted = [content(number * 1000 + turn * 10 + i, 1 + 300 * i) for i in range(5)]
            for data in wanted:
                await s.send(data)
            for data in wanted:
                seen.append(await s.recv())
                assert seen[-1][::-1] == data
        s.close()
        return digest(seen)

    async def main():
        context = zmq.asyncio.Context()
        server = opened(context, zmq.ROUTER, heartbeat_ivl=50, heartbeat_timeout=30000)
        server.bind(f"{HOST}:{port}")
        serving = asyncio.create_task(serve(server, 20 * 20 * 5))
        digests = await asyncio.gather(*(ask(context, number) for number in range(20)))
        await serving
        context.destroy(linger=0)
        return digests

    print("asynchronous", digest(d.encode() for d in asyncio.run(main())))


def server_of_replies(port):
    context = zmq.Context()
    s = opened(context, zmq.REP)
    s.bind(f"{HOST}:{port}")
    while True:
        s.send(s.recv()[::-1])


def comes_back(port):
    """The server is killed between requests, another takes its place, and the client's socket goes on."""
    context = zmq.Context()
    s = opened(context, zmq.REQ)
    s.connect(f"{HOST}:{port}")
    answers = []
    for turn in range(4):
        server = subprocess.Popen([sys.executable, __file__, "replies", str(port)])
        for number in range(100):
            data = content(turn * 100 + number, number)
            s.send(data)
            answers.append(s.recv())
            assert answers[-1][::-1] == data
        # The client's library notices the end, so that the next request isn't sent to the dead one.
        gone = s.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        server.send_signal(signal.SIGKILL)
        server.wait()
        assert gone.poll(30000)
        s.disable_monitor()
    context.destroy(linger=0)
    print("comes back", digest(answers))


def ventilator(port):
    tasks_done(port)
    encrypted(port + 3)
    asynchronous(port + 4)
    comes_back(port + 5)


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    {"ventilator": ventilator, "worker": worker, "replies": server_of_replies}[sys.argv[1]](int(sys.argv[2]))
