"""Programs on nodes that talk, and how much of it went by memory."""
import json

from guests import address, await_, expect

TESTS = []
SHARE = 0  # of the bytes, by memory: how much more depends on who slept when
PORT = 5000
ENDLESS = 10**12


def test(function):
    TESTS.append(function)
    return function


def port():
    global PORT
    PORT += 1
    return PORT


def moved(options, command):
    return f"rm -f /tmp/report; causeway run --report /tmp/report {options} -- {command}"


def report_of(guest):
    """Of the last program that was run there."""
    def report():
        status, said = guest.do("cat /tmp/report")
        return json.loads(said) if status == 0 and said.strip().endswith("}") else None

    return await_(report, f"a report on node {guest.i}")


def share(guest):
    """How much of what the last program that was run there moved went by memory."""
    said = report_of(guest)
    by_ring = said["bytes"]["ring_in"] + said["bytes"]["ring_out"]
    print(f"node {guest.i}: {by_ring} bytes by memory, {said['doorbells']} doorbells, {said['messages']} messages", flush=True)
    expect(said["broken"] == 0, said)
    return by_ring / max(1, by_ring + said["bytes"]["kernel_in"] + said["bytes"]["kernel_out"])


def by_memory(guest, least=SHARE):
    part = share(guest)
    expect(part > least, f"node {guest.i}: {part:.2f} of the bytes went by memory")


def listens(guest, where):
    await_(lambda: f"{address(guest.i)}:{where} " in guest.must("netstat -ltn"), f"a listener on node {guest.i}")


def serve(guest, command, where, options=""):
    """Prints the server's process id to /tmp/server.pid."""
    guest.must(f"{{ {moved(options, command)} >/tmp/server.log 2>&1 & }}")
    listens(guest, where)


def talk(guests, server, size, options="", client=None):
    """Both ends are begun, the client's command isn't waited for: guests.result."""
    where = port()
    serve(guests[server], f"talk listen {address(server)} {where} {size}", where, options)
    guests[client or 3 - server].begin(moved(options, f"talk connect {address(server)} {where} {size}"))


def talked(guests, server, size, least=SHARE, client=None):
    client = client or 3 - server
    status, said = guests[client].result()
    expect(status == 0 and said.rstrip().endswith(f"done {size}"), f"the client: {status} {said[-300:]}")
    await_(lambda: guests[server].must("cat /tmp/server.log").rstrip().endswith(f"done {size}"), "the server's end")
    for i in sorted((server, client)):
        by_memory(guests[i], least)


def await_given_back(guests):
    for guest in guests.guest.values():
        await_(lambda: guest.ask("status")["arenas"] == 0 and guest.ask("windows") == [], f"node {guest.i} gives memory back")


def counters(guests, name):
    return [guests[i].counter(name) for i in (1, 2)]
