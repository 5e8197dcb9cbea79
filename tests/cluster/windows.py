"""The memory that streams go by, as `causeway windows` shows it."""
import json
import os
import shutil
import signal
import subprocess
import sys
import xml.etree.ElementTree

from nodes import BUILD, HERE, LIMIT, Nodes, Skip, address, await_, expect, free_port, last_line, test
from streams import await_given_back, await_moved, talk


def windows(nodes, i):
    said = nodes.ask(i, "windows")
    expect(said is not None, "no answer")
    return said


def users(window):
    return {user.get("node", user.get("pid")) for user in window["mapped_by"]}


@test
def windows_are_listed_on_both_nodes():
    with Nodes(2, 2) as nodes:
        expect(windows(nodes, 1) == [] and windows(nodes, 2) == [], "windows of nobody")
        ends = talk(nodes, 3000)
        await_moved(nodes)
        await_(lambda: windows(nodes, 1) and windows(nodes, 2), "a window on both")
        (one,), (other,) = windows(nodes, 1), windows(nodes, 2)
        here, there = (one, other) if one["here"] else (other, one)
        expect(here["here"] and not there["here"], "whose is it?")
        for key in ("window", "owner", "generation", "size", "slots", "with"):
            expect(here[key] == there[key], f"{key}: {here[key]} and {there[key]}")
        expect({here["owner"], here["with"]} == {"node1", "node2"}, here)
        expect(here["with"] in users(here) and here["owner"] in users(there), f"{users(here)} {users(there)}")
        expect(here["used"] == there["used"] == 1 and here["state"] == there["state"] == "shared", here)
        expect(0 < here["resident"] <= here["size"] and here["memory_nodes"], here)
        expect(here["room"] > 0 and 0 <= here["unread"] <= here["room"], here)
        # As text, for people.
        text = nodes.do(1, "causeway", "windows").stdout.splitlines()
        expect(len(text) == 2 and text[1].startswith(one["window"]) and f"{one['used']}/{one['slots']}" in text[1], text)
        for end in ends:
            expect(last_line(end) == "done 3000", "content, or the end")
        await_given_back(nodes)
        await_(lambda: windows(nodes, 1) == [] and windows(nodes, 2) == [], "the windows' end")


@test
def windows_of_one_node_are_listed_too():
    with Nodes(1) as nodes:
        port = free_port()
        script = [sys.executable, f"{HERE}/talk.py"]
        listener = nodes.start(1, ["causeway", "run", *script, "listen", address(1), port, "1000000"])
        expect(listener.stdout.readline() == "ready\n", "the listener did not begin")
        nodes.start(1, ["causeway", "run", *script, "connect", address(1), port, "1000000"])
        await_(lambda: windows(nodes, 1), "a window")
        (window,) = windows(nodes, 1)
        expect(window["here"] and window["owner"] is None and window["with"] is None and len(users(window)) == 2, window)
        await_(lambda: windows(nodes, 1)[0]["doorbells"], "a doorbell: both ends sleep now and then")


@test
def others_windows_are_not_told():
    with Nodes(2, 2) as nodes:
        if nodes.do(1, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "causeway", "status").returncode:
            raise Skip("another user can't run the command here")
        talk(nodes, 1000000)
        await_moved(nodes)
        expect(windows(nodes, 1), "no window")
        said = nodes.do(1, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "causeway", "windows", "--json")
        expect(said.returncode == 0 and json.loads(said.stdout) == [], said)


# ---- the picture ----


def described(nodes, *options):
    """A machine with two memory nodes of four processors each, as hwloc describes it."""
    said = nodes.do(1, "env", "HWLOC_SYNTHETIC=node:2 core:4 pu:1", "causeway", "topology", *options)
    expect(said.returncode == 0, said)
    return said.stdout


@test
def the_topology_is_pictured():
    with Nodes(3, 2) as nodes:
        talk(nodes, 1000000)
        await_moved(nodes)
        await_(lambda: windows(nodes, 1), "a window")
        picture = json.loads(described(nodes, "--json"))
        own, other = sorted(picture["nodes"], key=lambda node: node["name"])
        expect(own["self"] and not other["self"] and other["state"] == "up" and picture["cluster"] == "cluster", picture)
        expect([(m["number"], m["processors"]) for m in own["memory_nodes"]] == [(0, "0-3"), (1, "4-7")], own)
        (link,) = picture["links"]
        expect(link["to"] == "node2" and link["windows"] == 1 and link["connections"] == 1 and link["size"] > 0, link)
        text = described(nodes)
        for part in ("node1: this node", "node2: up", "memory node 1: ", "processors 4-7", picture["windows"][0]["window"], "link to node2: up, 1 windows"):
            expect(part in text, f"{part} is not in {text}")
        drawing = xml.etree.ElementTree.fromstring(described(nodes, "--svg"))
        name = "{http://www.w3.org/2000/svg}"
        words = [t.text for t in drawing.iter(f"{name}text")]
        expect("node1" in words and "node2" in words and any(w.startswith(picture["windows"][0]["window"]) for w in words), words)
        expect(len(list(drawing.iter(f"{name}line"))) == 1, "a link")
        # A window with a name, for two nodes.
        nodes.join(3)
        nodes.await_all_up((1, 2, 3))
        done(nodes, 1, "create", "board", "64K")
        for other in ("node2", "node3"):
            done(nodes, 1, "grant", "board", other)
        picture = json.loads(described(nodes, "--json"))
        expect({link["to"]: link["windows"] for link in picture["links"]} == {"node2": 2, "node3": 1}, picture["links"])
        expect("window board: 64 KiB, made, granted to node2, node3" in described(nodes), described(nodes))
        drawing = xml.etree.ElementTree.fromstring(described(nodes, "--svg"))
        expect(len(list(drawing.iter(f"{name}line"))) == 3, "links")
        width, height = int(drawing.get("width")), int(drawing.get("height"))
        for box in drawing.iter(f"{name}rect"):
            expect(int(box.get("x")) + int(box.get("width")) < width and int(box.get("y")) + int(box.get("height")) < height, "a box is cut off")


@test
def without_a_service_the_machine_is_pictured():
    with Nodes(1) as nodes:
        nodes.kill(1)
        said = nodes.do(1, "causeway", "topology", "--json")
        expect(said.returncode == 0 and "this machine alone" in said.stderr, said)
        picture = json.loads(said.stdout)
        expect(len(picture["nodes"]) == 1 and picture["nodes"][0]["memory_nodes"] and picture["links"] == [], picture)
        expect(nodes.do(1, "causeway", "topology", "--json", "--svg").returncode == 2, "both were taken")


# ---- round trips by memory ----


def settled(nodes, i):
    """Looked at without asking for more."""
    watching = nodes.start(i, ["causeway", "nodes", "--watch", "--json"])
    seen = json.loads(watching.stdout.readline())
    watching.kill()
    return all(node["asked"] == node["answered"] and not node["measuring"] for node in seen["nodes"] if not node["self"])


@test
def round_trips_by_memory_are_measured():
    with Nodes(3, 3) as nodes:
        for i, others in ((1, ("node2", "node3")), (2, ("node1", "node3"))):
            for other in others:
                await_(lambda: (nodes.nodes(i).get(other, {}).get("memory_us") or 0) > 0, f"a round trip by memory from node {i} to {other}")
            own = nodes.nodes(i)[f"node{i}"]
            expect("memory_us" not in own, own)
        # As text; and nobody does it who isn't asked.
        row = await_(lambda: [line for line in nodes.do(1, "causeway", "nodes").stdout.splitlines() if "node2" in line and line.count(" us") == 2], "the row")
        expect(len(row) == 1, row)
        for i in (1, 2, 3):
            await_(lambda: settled(nodes, i), "the last answer")
        done = [nodes.counter(i, "echoes") for i in (1, 2, 3)]
        expect(all(done), done)
        talk(nodes, 3000)
        await_moved(nodes)
        expect([nodes.counter(i, "echoes") for i in (1, 2, 3)] == done, "it was measured without being asked for")


@test
def a_round_trip_that_does_not_come_is_not_waited_for():
    with Nodes(2, 2) as nodes:
        def by_memory():
            return nodes.nodes(1)["node2"]["memory_us"]

        await_(by_memory, "a round trip by memory")
        nodes.service[2].send_signal(signal.SIGSTOP)
        await_(lambda: by_memory() is None, "no round trip")
        nodes.service[2].send_signal(signal.SIGCONT)
        await_(by_memory, "a round trip by memory again")


# ---- figures ----


@test
def the_benchmark_between_nodes_runs():
    """No figure is judged; it fails where a stream isn't moved."""
    if not all(map(shutil.which, ("sockperf", "taskset"))) or len(os.sched_getaffinity(0)) < 2:
        raise Skip("needs sockperf, taskset and two processors")
    done = subprocess.run([f"{HERE}/../../benchmarks/cluster", "--build", BUILD, "--rounds", "1", "--seconds", "1", "--only", "sockperf", "--json"],
                          capture_output=True, text=True, timeout=3 * LIMIT)
    expect(done.returncode == 0, done.stderr)
    (figure,) = json.loads(done.stdout)
    expect(len(figure["medians"]) == 3 and all(value > 0 for value in figure["medians"].values()), figure)


# ---- windows with a name ----


def window(nodes, i, *arguments, **more):
    return nodes.do(i, "causeway", "windows", *arguments, **more)


def done(nodes, i, *arguments, **more):
    said = window(nodes, i, *arguments, **more)
    expect(said.returncode == 0, f"windows {arguments}: {said.stderr}")
    return said.stdout


def refused(nodes, i, why, *arguments, **more):
    said = window(nodes, i, *arguments, **more)
    expect(said.returncode == 1 and why in said.stderr, f"windows {arguments}: {said.returncode} {said.stdout} {said.stderr}")


def named(nodes, i):
    return {w["window"]: w for w in windows(nodes, i)}


@test
def windows_are_made_granted_and_taken_back():
    with Nodes(3, 3) as nodes:
        done(nodes, 1, "create", "board", "64K", "--dry-run")
        expect(named(nodes, 1) == {}, "it was made")
        done(nodes, 1, "create", "board", "64K")
        made = named(nodes, 1)["board"]
        expect(made["size"] == 65536 and made["owner"] == "node1" and made["here"] and made["granted"] == [] and made["resident"] == 0, made)
        done(nodes, 1, "write", "board", "--at", "1K", input="hello")
        expect(done(nodes, 1, "read", "board", "--at", "1024", "--length", "5") == "hello", "other bytes")
        # For reading, then for both.
        refused(nodes, 2, "granted this node no window", "read", "node1/board")
        done(nodes, 1, "grant", "board", "node2")
        await_(lambda: "board" in named(nodes, 2), "the window on node 2")
        there = named(nodes, 2)["board"]
        expect(there["owner"] == "node1" and not there["here"] and there["state"] == "read only" and there["generation"] == made["generation"], there)
        expect(done(nodes, 2, "read", "node1/board", "--at", "1K", "--length", "5") == "hello", "other bytes")
        refused(nodes, 2, "for reading alone", "write", "node1/board", input="x")
        refused(nodes, 3, "granted this node no window", "read", "node1/board")
        done(nodes, 1, "grant", "board", "node2", "--writable")
        await_(lambda: named(nodes, 2).get("board", {}).get("state") == "granted", "the window, for both")
        done(nodes, 2, "write", "node1/board", "--at", "1K", input="HELLO")
        expect(done(nodes, 1, "read", "board", "--at", "1K", "--length", "5") == "HELLO", "node 2 wrote elsewhere")
        # Taken back.
        expect(json.loads(done(nodes, 1, "revoke", "board", "node2", "--dry-run", "--json"))["breaks"] == ["node2"], "who would lose it?")
        expect("board" in named(nodes, 2), "it was taken")
        done(nodes, 1, "revoke", "board", "node2")
        await_(lambda: named(nodes, 2) == {}, "the window's end on node 2")
        done(nodes, 1, "grant", "board", "node3")
        refused(nodes, 1, "--force", "remove", "board")
        expect("node node3 would lose it" in done(nodes, 1, "remove", "board", "--dry-run"), "who would lose it?")
        await_(lambda: "board" in named(nodes, 3), "the window on node 3")
        done(nodes, 1, "remove", "board", "--force")
        await_(lambda: named(nodes, 3) == {} and named(nodes, 1) == {}, "the window's end")


@test
def what_can_not_be_done_with_windows_is_told():
    with Nodes(2, 2) as nodes:
        done(nodes, 1, "create", "board", "5000")
        expect(named(nodes, 1)["board"]["size"] % os.sysconf("SC_PAGESIZE") == 0, "whole pages")
        refused(nodes, 1, "already", "create", "board", "4K")
        refused(nodes, 1, "--memory", "create", "large", "8000000G")
        refused(nodes, 1, "no window nothing", "read", "nothing")
        refused(nodes, 1, "no node nobody", "grant", "board", "nobody")
        refused(nodes, 1, "this node itself", "grant", "board", "node1")
        refused(nodes, 1, "is not granted it", "revoke", "board", "node2")
        refused(nodes, 1, "ends at", "write", "board", "--at", "1M", input="x")
        refused(nodes, 1, "ends at", "read", "board", "--at", "1M", "--length", "1")
        refused(nodes, 1, "letters", "create", "a b", "4K")
        for wrong in (["create", "x" * 24, "4K"], ["create", "x", "4Q"], ["create", "x"], ["nothing"], ["remove", "node2/board"]):
            expect(window(nodes, 1, *wrong).returncode == 2, f"{wrong} was taken")
        if nodes.do(1, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "causeway", "status").returncode == 0:
            said = nodes.do(1, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "causeway", "windows", "read", "board")
            expect(said.returncode == 1 and "only root" in said.stderr, said)


@test
def a_granted_window_comes_back_with_its_node():
    with Nodes(2, 2) as nodes:
        done(nodes, 1, "create", "board", "3M")
        content = "".join(f"{i:8x}" for i in range(3 << 17))
        done(nodes, 1, "write", "board", input=content)
        done(nodes, 1, "grant", "board", "node2")
        await_(lambda: "board" in named(nodes, 2), "the window on node 2")
        nodes.kill(2)
        nodes.serve(2)
        nodes.await_all_up((1, 2))
        await_(lambda: "board" in named(nodes, 2), "the window on node 2 again")
        expect(done(nodes, 2, "read", "node1/board") == content, "other bytes")
        expect(nodes.counter(1, "between_unpassed") == nodes.counter(2, "between_unpassed") == 0, "memory was not taken")
        # The owner's memory goes with its service.
        nodes.kill(1)
        await_(lambda: named(nodes, 2) == {}, "the window's end")
        refused(nodes, 2, "or is not up", "read", "node1/board")


@test
def a_window_is_watched():
    with Nodes(2, 2) as nodes:
        done(nodes, 1, "create", "board", "4K")
        done(nodes, 1, "grant", "board", "node2")
        await_(lambda: "board" in named(nodes, 2), "the window on node 2")
        seen = nodes.start(2, ["causeway", "windows", "watch", "node1/board", "--length", "3", "--count", "3"])
        expect(seen.stdout.readline() == "000000\n", "it is empty at first")
        for text in ("abc", "xyz"):
            done(nodes, 1, "write", "board", input=text)
            expect(seen.stdout.readline() == text.encode().hex() + "\n", f"{text} was not seen")
        expect(seen.wait(LIMIT) == 0, "it did not end")
