"""An asyncio server and many clients at once: frames, streams larger than any buffer, half-close, cancelled reads."""

import asyncio
import struct

import ends


async def echo(reader, writer):
    """Sends back what comes, as it comes, and slower than it comes now and then."""
    total = 0
    while data := await reader.read(65536):
        total += len(data)
        writer.write(data)
        await writer.drain()
        if total % 7 == 0:
            await asyncio.sleep(0.001)
    writer.write(struct.pack("!Q", total))
    writer.write_eof()
    writer.close()


async def serve(port):
    server = await asyncio.start_server(echo, ends.HOST, port, backlog=200)
    async with server:
        await server.serve_forever()


async def small(port, seed):
    reader, writer = await asyncio.open_connection(ends.HOST, port)
    for i in range(200):
        data = ends.content(seed * 1000 + i, 1 + i * 13 % 500)
        writer.write(data)
        if await reader.readexactly(len(data)) != data:
            raise ValueError(f"message {i}")
    writer.write_eof()
    (total,) = struct.unpack("!Q", await reader.readexactly(8))
    writer.close()
    return total, await reader.read()


async def large(port, seed):
    data = ends.content(seed, 5000000)
    reader, writer = await asyncio.open_connection(ends.HOST, port)

    async def send():
        writer.write(data)
        await writer.drain()
        writer.write_eof()

    _, back = await asyncio.gather(send(), reader.read())
    writer.close()
    return ends.digest(back[:-8]), back[:-8] == data, struct.unpack("!Q", back[-8:])


async def impatient(port, seed):
    reader, writer = await asyncio.open_connection(ends.HOST, port)
    gave_up = 0
    for i in range(20):
        try:
            await asyncio.wait_for(reader.read(10), 0.01)
        except asyncio.TimeoutError:
            gave_up += 1
        writer.write(b"%08d" % i * 100)
        if await reader.readexactly(800) != b"%08d" % i * 100:
            raise ValueError(f"message {i}")
    writer.close()
    return gave_up


async def connect(port):
    jobs = [(f, seed) for seed in range(20) for f in (small, large, impatient)]
    found = await asyncio.gather(*(f(port, seed) for f, seed in jobs))
    for (f, seed), what in zip(jobs, found):
        print(f.__name__, seed, what)


ends.main(lambda port: asyncio.run(serve(port)), lambda port: asyncio.run(connect(port)))
