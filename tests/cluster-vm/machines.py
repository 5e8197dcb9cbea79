"""What happens to whole machines: one stands still, one is killed while there are three."""
import os
import signal
import time

from guests import address, await_, expect
from streams import ENDLESS, by_memory, listens, moved, port, serve, talk, talked

LARGE = 40000000  # bytes each way: more than goes by while the test looks


class Frozen:
    """A guest that stands still; with the clock of its machine (the monitor's way), or while its clock goes on."""

    def __init__(self, guest, clock_goes_on):
        self.guest, self.clock_goes_on = guest, clock_goes_on

    def __enter__(self):
        if self.clock_goes_on:
            self.guest.signal(signal.SIGSTOP)
        else:
            self.guest.monitor("stop")

    def __exit__(self, *_):
        if self.clock_goes_on:
            self.guest.signal(signal.SIGCONT)
        else:
            self.guest.monitor("cont")


def begin(guests, server, client, size):
    """A stream that nobody waits for, when it has gone by memory for a while."""
    where = port()
    granted = guests[client].counter("between_granted")
    serve(guests[server], f"talk listen {address(server)} {where} {size}", where)
    guests[client].must(f"{{ {moved('', f'talk connect {address(server)} {where} {size}')} >/tmp/client.log 2>&1 & }}")
    goes_on(guests[server], 1)
    expect(guests[client].counter("between_granted") > granted, "it was not moved")


def goes_on(guest, lines):
    """How much the server has said of its way, which is more than it was."""

    def said():
        now = guest.must("wc -l </tmp/server.log")
        return int(now) > lines

    return await_(said, "traffic")


def come_to_their_end(guests, server, client, size):
    for i, log in ((server, "server"), (client, "client")):
        await_(lambda: guests[i].must(f"cat /tmp/{log}.log").rstrip().endswith(f"done {size}"), f"the end of the {log}")


def ticks(guest):
    """Of the processor, by the programs that have to do with it; and those that have gone by."""
    said = guest.must("cut -d' ' -f1 /proc/uptime; cat $(pidof causewayd talk | sed 's,[0-9]*,/proc/&/stat,g')").splitlines()
    used = [line.rsplit(")", 1)[1].split() for line in said[1:]]
    expect(len(used) == 2, said)
    return sum(int(fields[11]) + int(fields[12]) for fields in used), float(said[0]) * 100


def is_idle(guest):
    before, interrupts = ticks(guest), guest.bell("interrupts")
    time.sleep(2)
    after = ticks(guest)
    used, gone = after[0] - before[0], after[1] - before[1]
    print(f"node {guest.i}: {used} of {gone:.0f} ticks while the other stands still", flush=True)
    expect(used < gone / 5, f"node {guest.i}: {used} of {gone} ticks")
    expect(guest.bell("interrupts") == interrupts, "interrupts")


def state(guest, name):
    return {node["name"]: node["state"] for node in guest.ask("nodes")["nodes"]}[name]


def a_guest_is_frozen_under_load(guests):
    """For a moment: nothing has happened. For longer: the other takes its stream back to the kernel, and waits. No byte is lost either way."""
    ways = ((1, True), (2, False)) if os.environ.get("CW_TEST_LONG") else ((2, True),)
    for which, clock_goes_on in ways:
        other = 3 - which
        lost = guests[other].counter("between_lost")
        begin(guests, 1, 2, LARGE)
        with Frozen(guests[which], clock_goes_on):
            time.sleep(1)
        expect(guests[other].counter("between_lost") == lost and state(guests[other], f"node{which}") == "up", "a moment was too long")
        goes_on(guests[1], int(guests[1].must("wc -l </tmp/server.log")))
        with Frozen(guests[which], clock_goes_on):
            await_(lambda: guests[other].counter("between_lost") > lost, "the loss of the node")
            expect(state(guests[other], f"node{which}") != "up", "it is up")
            is_idle(guests[other])
        come_to_their_end(guests, 1, 2, LARGE)
        for i in (1, 2):
            by_memory(guests[i])
        guests.await_up()
        talk(guests, which, 2000000)
        talked(guests, which, 2000000)


# ---- three ----


def pairs(guest, in_state="shared"):
    """Nodes with memory for streams in that state, as the guest sees it."""
    return {" ".join(sorted((window["owner"], window["with"]))) for window in guest.ask("windows") if window["state"] == in_state}


def burden(guests, server, client):
    """A stream without an end, of which nobody asks what became."""
    where = port()
    guests[server].must(f"{{ causeway run -- talk listen {address(server)} {where} {ENDLESS} >/dev/null 2>&1 & }}")
    listens(guests[server], where)
    guests[client].must(f"{{ causeway run -- talk connect {address(server)} {where} {ENDLESS} >/dev/null 2>&1 & }}")


def three_guests_share_a_device(guests):
    """Each pair talks by memory. When one is killed, under the traffic of all three, the others go on."""
    guests.add(3)
    for server, client in ((1, 2), (3, 1), (2, 3)):
        talk(guests, server, 2000000, client=client)
        talked(guests, server, 2000000, client=client)
    begin(guests, 1, 3, ENDLESS)
    burden(guests, 2, 1)
    burden(guests, 3, 2)
    for i, seen in ((1, {"node1 node2", "node1 node3"}), (2, {"node1 node2", "node2 node3"}), (3, {"node1 node3", "node2 node3"})):
        await_(lambda: pairs(guests[i]) == seen, f"memory of both pairs of node {i}")
    lost = [guests[i].counter("between_lost") for i in (1, 3)]
    guests.lose(2)
    for i, before in zip((1, 3), lost):
        await_(lambda: guests[i].counter("between_lost") > before, f"the loss of the node, on node {i}")
        expect(state(guests[i], "node2") != "up" and state(guests[i], f"node{4 - i}") == "up", guests[i].ask("nodes"))
        expect(pairs(guests[i]) == {"node1 node3"} and pairs(guests[i], "lost") == {f"node{min(i, 2)} node{max(i, 2)}"}, guests[i].ask("windows"))
    goes_on(guests[1], int(guests[1].must("wc -l </tmp/server.log")))
    for i in (1, 3):
        guests[i].must("kill -KILL $(pidof talk)")
    for server in (1, 3):
        talk(guests, server, 2000000, client=4 - server)
        talked(guests, server, 2000000, client=4 - server)
