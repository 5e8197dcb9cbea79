"""gRPC without generated code: `grpc_calls.py server PORT [aio]` and `grpc_calls.py client PORT`. Calls of all four kinds, many at once, large
messages, metadata, errors, deadlines, calls that either side gives up, channels that come and go. The client prints what it found."""

import asyncio
import concurrent.futures
import hashlib
import os
import random
import signal
import sys
import threading

import grpc
import grpc.aio

ADDRESS = "127.0.0.1"
LIMITS = [("grpc.max_receive_message_length", 1 << 26), ("grpc.max_send_message_length", 1 << 26), ("grpc.so_reuseport", 0)]
SIZES = [0, 1, 10, 100, 1000, 10, 10, 50000, 3, 1 << 20, 7, 200000, 1]


def content(seed, size):
    return random.Random(seed).randbytes(size)


def digest(parts):
    seen = hashlib.sha256()
    for part in parts:
        seen.update(b"%d:" % len(part))
        seen.update(part)
    return seen.hexdigest()[:16]


def unary(request, context):
    context.set_trailing_metadata((("size", str(len(request))), ("bytes-bin", request[:50])))
    return request[::-1]


def given(request, context):
    """So many parts of such a size."""
    count, size = map(int, request.split())
    for number in range(count):
        yield content(number, size)


def taken(requests, context):
    return digest(requests).encode()


def echoed(requests, context):
    for request in requests:
        yield request[::-1]


def failing(request, context):
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "as asked: " + request.decode())


def endless(request, context):
    number = 0
    while context.is_active():
        yield b"%d" % number
        number += 1


def silent(request, context):
    ended = threading.Event()
    context.add_callback(ended.set)
    ended.wait(60)
    return b""


async def aio_unary(request, context):
    context.set_trailing_metadata((("size", str(len(request))), ("bytes-bin", request[:50])))
    return request[::-1]


async def aio_given(request, context):
    count, size = map(int, request.split())
    for number in range(count):
        yield content(number, size)


async def aio_taken(requests, context):
    return digest([request async for request in requests]).encode()


async def aio_echoed(requests, context):
    async for request in requests:
        yield request[::-1]


async def aio_failing(request, context):
    await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "as asked: " + request.decode())


async def aio_endless(request, context):
    number = 0
    while True:
        yield b"%d" % number
        number += 1


async def aio_silent(request, context):
    await asyncio.sleep(60)
    return b""


def service(kind):
    one = {name: globals()[kind + name] for name in ("unary", "failing", "silent")}
    many = {name: globals()[kind + name] for name in ("given", "endless")}
    methods = {name: grpc.unary_unary_rpc_method_handler(f) for name, f in one.items()}
    methods |= {name: grpc.unary_stream_rpc_method_handler(f) for name, f in many.items()}
    methods["taken"] = grpc.stream_unary_rpc_method_handler(globals()[kind + "taken"])
    methods["echoed"] = grpc.stream_stream_rpc_method_handler(globals()[kind + "echoed"])
    return grpc.method_handlers_generic_handler("exercise", methods)


def serve(port):
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=16), options=LIMITS)
    server.add_generic_rpc_handlers((service(""),))
    assert server.add_insecure_port(f"{ADDRESS}:{port}")
    server.start()
    print("ready", flush=True)
    signal.sigwait([signal.SIGTERM])
    end(server)


def end(server):
    # Debian's gRPC 1.51 waits for ever now and then, with nothing left to wait for (also on kernel TCP).
    server.stop(1).wait(5)
    os._exit(0)


async def serve_aio(port):
    server = grpc.aio.server(options=LIMITS)
    server.add_generic_rpc_handlers((service("aio_"),))
    assert server.add_insecure_port(f"{ADDRESS}:{port}")
    await server.start()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    print("ready", flush=True)
    await ended.wait()
    await asyncio.wait([asyncio.ensure_future(server.stop(1))], timeout=5)
    os._exit(0)


def opened(port, *options):
    # Each with connections of its own: channels of one process share them else.
    return grpc.insecure_channel(f"{ADDRESS}:{port}", [*LIMITS, ("grpc.use_local_subchannel_pool", 1), *options])


def unary_calls(channel):
    call = channel.unary_unary("/exercise/unary")
    seen = []
    for number, size in enumerate(SIZES * 20):
        request = content(number, size)
        answer, told = call.with_call(request, timeout=60, wait_for_ready=True)
        assert answer == request[::-1]
        assert dict(told.trailing_metadata())["bytes-bin"] == request[:50]
        seen.append(answer)
    print("unary", digest(seen))


def at_once(channel):
    call = channel.unary_unary("/exercise/unary")
    requests = [content(number, number * 31 % 5000) for number in range(500)]
    answers = [call.future(request, timeout=60) for request in requests]
    seen = [answer.result() for answer in answers]
    assert seen == [request[::-1] for request in requests]
    print("at once", digest(seen))


def streams(channel):
    given_ = list(channel.unary_stream("/exercise/given")(b"3000 100", timeout=60))
    assert given_ == [content(number, 100) for number in range(3000)]
    large = list(channel.unary_stream("/exercise/given")(b"40 500000", timeout=60))
    assert large == [content(number, 500000) for number in range(40)]
    print("given", digest(given_), digest(large))
    requests = [content(number, number * 37 % 30000) for number in range(600)]
    answer = channel.stream_unary("/exercise/taken")(iter(requests), timeout=60)
    assert answer.decode() == digest(requests)
    print("taken", answer.decode())
    answers = list(channel.stream_stream("/exercise/echoed")(iter(requests), timeout=60))
    assert answers == [request[::-1] for request in requests]
    print("echoed", digest(answers))


def turns(channel):
    """A stream both ways, each message an answer to the one before."""
    answered = threading.Semaphore(1)

    def ask():
        for number in range(500):
            answered.acquire()
            yield b"turn %d" % number

    seen = []
    for answer in channel.stream_stream("/exercise/echoed")(ask(), timeout=60):
        seen.append(answer)
        answered.release()
    print("turns", len(seen), digest(seen))


def threads(port, channel):
    def work(seed):
        own = opened(port) if seed % 2 else channel
        answers = []
        for number in range(30):
            request = content(seed * 1000 + number, number * 200)
            answers.append(own.unary_unary("/exercise/unary")(request, timeout=60, wait_for_ready=True))
            assert answers[-1] == request[::-1]
        if own is not channel:
            own.close()
        return digest(answers)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        print("threads", *pool.map(work, range(8)))


def failures(channel):
    found = []
    try:
        channel.unary_unary("/exercise/failing")(b"now", timeout=60)
    except grpc.RpcError as e:
        found += [e.code().name, e.details()]
    try:
        channel.unary_unary("/exercise/absent")(b"", timeout=60)
    except grpc.RpcError as e:
        found.append(e.code().name)
    try:
        channel.unary_unary("/exercise/silent")(b"", timeout=0.2)
    except grpc.RpcError as e:
        found.append(e.code().name)
    call = channel.unary_unary("/exercise/silent").future(b"", timeout=60)
    call.cancel()
    found.append(call.code().name)
    numbers = channel.unary_stream("/exercise/endless")(b"", timeout=60)
    got = [next(numbers) for _ in range(200)]
    numbers.cancel()
    try:
        while True:
            next(numbers)
    except (grpc.RpcError, StopIteration):
        found += [got[-1].decode(), numbers.code().name]
    nobody = grpc.insecure_channel(f"{ADDRESS}:1")
    try:
        nobody.unary_unary("/exercise/unary")(b"", timeout=60)
    except grpc.RpcError as e:
        found.append(e.code().name)
    print("failures", *found)


async def by_aio(port):
    async with grpc.aio.insecure_channel(f"{ADDRESS}:{port}", LIMITS) as channel:
        call = channel.unary_unary("/exercise/unary")
        requests = [content(number, number * 53 % 9000) for number in range(300)]
        answers = await asyncio.gather(*(call(request, timeout=60) for request in requests))
        assert answers == [request[::-1] for request in requests]
        stream = channel.stream_stream("/exercise/echoed")(timeout=60)
        for request in requests:
            await stream.write(request)
            answers.append(await stream.read())
        await stream.done_writing()
        assert answers[300:] == answers[:300] and await stream.read() is grpc.aio.EOF
        print("aio", digest(answers))


def client(port):
    with opened(port) as channel:
        for exercise in (unary_calls, at_once, streams, turns, failures):
            exercise(channel)
        threads(port, channel)
    asyncio.run(by_aio(port))


if __name__ == "__main__":
    if sys.argv[1] == "client":
        client(int(sys.argv[2]))
    else:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM] if len(sys.argv) == 3 else [])
        serve(int(sys.argv[2])) if len(sys.argv) == 3 else asyncio.run(serve_aio(int(sys.argv[2])))
