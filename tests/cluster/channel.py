"""The channel between node services, and the commands that make and change a cluster."""
import contextlib
import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import time

from nodes import BUILD, LIMIT, Nodes, Skip, address, address6, await_, expect, test

PORT = 7929


def files(directory):
    """All names and contents."""
    return {name: open(f"{directory}/{name}", "rb").read() for name in os.listdir(directory)} if os.path.isdir(directory) else {}


@contextlib.contextmanager
def inside(nodes, i):
    """This process in the network of a node: for sockets that nothing but the test has."""
    own, other = os.open("/proc/self/ns/net", os.O_RDONLY), os.open(f"/run/netns/{nodes.net(i)}", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    expect(libc.setns(other, 0) == 0, os.strerror(ctypes.get_errno()))
    try:
        yield
    finally:
        expect(libc.setns(own, 0) == 0, os.strerror(ctypes.get_errno()))
        os.close(own)
        os.close(other)


# ---- the commands ----


@test
def a_cluster_is_made_shown_and_left():
    with Nodes(3) as nodes:
        nodes.join(1, "--cluster", "house")
        shown = nodes.cluster_json(1, "show")
        expect(shown["cluster"] == "house" and shown["key_is_here"] and shown["this"] == "node1", shown)
        nodes.join(2)
        nodes.await_all_up((1, 2))
        expect(not nodes.cluster_json(2, "show")["key_is_here"], "the cluster's key is on node 2")
        expect(oct(os.stat(f"{nodes.directory(2)}/node.key").st_mode & 0o777) == "0o600", "its key can be read")
        # A node that can't ask joins by a file.
        secret = f"{nodes.place}/secret"
        nodes.cluster_json(1, "export", "node3", "--address", address(3), "--file", secret)
        expect(oct(os.stat(secret).st_mode & 0o777) == "0o600", "what is exported can be read")
        nodes.await_state(2, 3, "down" if nodes.nodes(2).get("node3", {}).get("since_seconds") else "never seen")
        nodes.cluster_json(3, "join", "--file", secret)
        nodes.await_all_up((1, 2, 3))
        # One leaves, one is taken out.
        nodes.cluster_json(2, "leave")
        expect(not os.path.exists(f"{nodes.directory(2)}/node.key"), "its key is still there")
        expect(nodes.nodes(2) == {}, nodes.nodes(2))
        await_(lambda: set(nodes.nodes(1)) == set(nodes.nodes(3)) == {"node1", "node3"}, "a map without node2")
        nodes.cluster_json(1, "remove", "node3")
        await_(lambda: set(nodes.nodes(1)) == {"node1"} and nodes.nodes(3)["node1"].get("reason") == "removed", "a map without node3")
        nodes.cluster_json(3, "leave", "--force")
        # Both can come back.
        nodes.join(2)
        nodes.join(3)
        nodes.await_all_up((1, 2, 3))


@test
def no_other_directory_is_taken():
    with Nodes(1) as nodes:
        nodes.kill(1)
        done = nodes.do(1, "causeway", "cluster", "init", "--name", "node1", "--address", address(1))
        expect(done.returncode == 1 and "--directory" in done.stderr, done)


@test
def trying_changes_nothing():
    with Nodes(2) as nodes:
        nodes.cluster_json(1, "init", "--name", "node1", "--address", address(1), "--dry-run")
        expect(files(nodes.directory(1)) == {}, "init made files")
        nodes.join(1)
        before = files(nodes.directory(1))
        nodes.cluster_json(1, "invite", "--dry-run")
        nodes.cluster_json(1, "export", "node2", "--address", address(2), "--file", f"{nodes.place}/secret", "--dry-run")
        expect(files(nodes.directory(1)) == before and not os.path.exists(f"{nodes.place}/secret"), "invite or export changed something")
        invitation = nodes.invite()
        before = files(nodes.directory(1))
        nodes.cluster_json(2, "join", address(1), invitation, "--name", "node2", "--dry-run")
        expect(files(nodes.directory(1)) == before and files(nodes.directory(2)) == {}, "join changed something")
        nodes.refused(2, "a node of that name", "join", address(1), invitation, "--name", "node1", "--dry-run")
        nodes.cluster_json(2, "join", address(1), invitation, "--name", "node2")
        nodes.await_all_up((1, 2))
        before = [files(nodes.directory(i)) for i in (1, 2)]
        nodes.cluster_json(1, "remove", "node2", "--dry-run")
        nodes.cluster_json(2, "leave", "--dry-run")
        expect([files(nodes.directory(i)) for i in (1, 2)] == before, "remove or leave changed something")
        nodes.await_all_up((1, 2))


@test
def who_may_not_join_is_told_why():
    with Nodes(4) as nodes:
        nodes.join(1)
        good = nodes.invite()
        expired = nodes.invite(1, "--for", "0")
        nodes.cluster_json(3, "init", "--name", "other", "--address", address(3))
        other = nodes.invite(3)
        name = ["--name", "node2"]
        nodes.refused(2, "has expired", "join", address(1), expired, *name)
        nodes.refused(2, "a node of that name", "join", address(1), good, "--name", "node1")
        nodes.refused(2, "has that address", "join", address(1), good, *name, "--address", address(1))
        nodes.refused(2, "another cluster", "join", address(1), other, *name)
        nodes.refused(2, "refused", "join", address(4), good, *name)
        expect(nodes.cluster(2, "join", address(1), "cw1-nonsense", *name).returncode == 2, "a word that is no invitation")
        nodes.refused(3, "already", "join", address(1), good)
        expect(files(nodes.directory(2)) == {}, "something was kept")
        nodes.cluster_json(2, "join", address(1), good, *name)
        nodes.refused(4, "or it was used", "join", address(1), good, "--name", "node4")
        # A node without the cluster's key can't take anybody; nor can it be asked in another's name.
        nodes.refused(4, "another node answers", "join", address(2), nodes.invite(), "--name", "node4")
        nodes.refused(2, "the cluster's key is not on this node", "invite")
        nodes.refused(2, "the cluster's key is not on this node", "remove", "node1")
        nodes.refused(1, "no node nobody", "remove", "nobody")
        nodes.refused(1, "would be lost", "leave")
        nodes.await_all_up((1, 2))


# ---- who is refused ----


@test
def an_old_key_is_refused():
    with Nodes(3, 2) as nodes:
        old = f"{nodes.place}/old"
        shutil.copytree(nodes.directory(2), old)
        nodes.cluster_json(2, "leave")
        nodes.join(2)
        nodes.await_all_up((1, 2))
        # An old copy of its directory, and the service started with it.
        nodes.kill(2)
        shutil.rmtree(nodes.directory(2))
        shutil.copytree(old, nodes.directory(2))
        nodes.serve(2)
        await_(lambda: nodes.nodes(2).get("node1", {}).get("reason") == "removed", "a refusal")
        expect(nodes.nodes(2)["node1"]["state"] == "refuses", nodes.nodes(2))
        expect(nodes.state(1, 2) != "up", "the old key was taken")
        expect("it was removed from the cluster" in open(nodes.log(1)).read() + open(nodes.log(2)).read(), "nothing was said")


@test
def a_removed_node_is_refused():
    with Nodes(3, 3) as nodes:
        nodes.kill(3)
        nodes.cluster_json(1, "remove", "node3")
        await_(lambda: "node3" not in nodes.nodes(2), "the new map on node 2")
        nodes.serve(3)
        for i in (1, 2):
            await_(lambda: nodes.nodes(3)[f"node{i}"].get("reason") == "removed", "a refusal")
        expect(nodes.counter(2, "channel_refused") + nodes.counter(1, "channel_refused") >= 2, "not counted")


@test
def a_copy_of_a_node_is_refused():
    with Nodes(3, 2) as nodes:
        nodes.kill(3)
        shutil.copytree(nodes.directory(2), nodes.directory(3))
        before = nodes.counter(1, "channel_downs")
        nodes.serve(3)
        await_(lambda: nodes.nodes(3)["node1"].get("reason") == "twice", "a refusal")
        expect(nodes.state(3, 1) == "refuses", nodes.nodes(3))
        expect(nodes.state(1, 2) == "up" and nodes.counter(1, "channel_downs") == before, "the node suffered")


@test
def another_cluster_at_the_address_is_refused():
    with Nodes(2, 2) as nodes:
        nodes.kill(2)
        for name in files(nodes.directory(2)):
            os.unlink(f"{nodes.directory(2)}/{name}")
        nodes.cluster_json(2, "init", "--name", "node2", "--address", address(2))
        nodes.serve(2)
        await_(lambda: nodes.nodes(1)["node2"].get("reason") == "other_cluster", "a refusal")
        expect("node1" not in nodes.nodes(2), "it was taken")


# ---- up and down ----


@test
def a_node_is_killed_and_comes_back():
    with Nodes(2, 2) as nodes:
        for which in (1, 2):
            other = 3 - which
            nodes.kill(which)
            nodes.await_state(other, which, "down")
            nodes.serve(which)
            nodes.await_all_up((1, 2))
            nodes.kill(which, signal.SIGTERM)
            nodes.await_state(other, which, "down")
            nodes.serve(which)
            nodes.await_all_up((1, 2))


@test
def a_node_that_was_down_gets_the_map_from_any():
    with Nodes(4, 3) as nodes:
        nodes.kill(3)
        nodes.join(4)
        nodes.await_all_up((1, 2, 4))
        nodes.kill(1)
        nodes.kill(4)
        nodes.await_state(2, 1, "down")
        nodes.serve(3)
        await_(lambda: "node4" in nodes.nodes(3), "the newer map, from node 2")
        nodes.serve(1)
        nodes.serve(4)
        nodes.await_all_up((1, 2, 3, 4))


@test
def frozen_and_cut_off_nodes_are_noticed():
    with Nodes(3, 3) as nodes:
        pid = nodes.ask(2, "status")["pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            subprocess.run(["ip", "-n", nodes.net(0), "link", "set", "p3", "down"], check=True)
            for i in (2, 3):
                nodes.await_state(1, i, "down")
        finally:
            os.kill(pid, signal.SIGCONT)
        subprocess.run(["ip", "-n", nodes.net(0), "link", "set", "p3", "up"], check=True)
        nodes.await_all_up((1, 2, 3))


@test
def all_at_once():
    """Both of each pair dial: one connection is kept."""
    with Nodes(4, 4) as nodes:
        for i in range(1, 5):
            nodes.kill(i)
        for i in range(1, 5):
            nodes.serve(i, wait=False)
        nodes.await_all_up(range(1, 5))

        def connections(i):
            said = nodes.do(i, "ss", "-Htn", "state", "established").stdout.splitlines()
            return [line for line in said if f":{PORT}" in line]

        for i in range(1, 5):
            await_(lambda: len(connections(i)) == 3, f"one connection a node; there are {connections(i)}")
        nodes.await_all_up(range(1, 5))


@test
def it_speaks_ipv6():
    with Nodes(2) as nodes:
        nodes.cluster_json(1, "init", "--name", "node1", "--address", address6(1))
        nodes.cluster_json(2, "join", address6(1), nodes.invite(), "--name", "node2")
        nodes.await_all_up((1, 2))
        expect(nodes.nodes(1)["node2"]["addresses"] == [f"[{address6(2)}]:{PORT}"], nodes.nodes(1))


@test
def the_second_address_is_tried():
    with Nodes(2) as nodes:
        # Nobody answers at the first.
        nodes.cluster_json(1, "init", "--name", "node1", "--address", "10.97.0.201", "--address", address(1))
        nodes.cluster_json(2, "join", address(1), nodes.invite(), "--name", "node2", "--address", "10.97.0.202", "--address", address6(2))
        nodes.await_all_up((1, 2))


@test
def clocks_may_differ():
    if subprocess.run(["unshare", "--time", "--monotonic", "1000", "true"], capture_output=True).returncode:
        raise Skip("time namespaces can't be made here")
    with Nodes(2) as nodes:
        nodes.kill(2)
        # Ten years; --fork: the namespace is that of children. They are ended with it.
        nodes.serve(2, "unshare", "--time", "--monotonic", "315360000", "--boottime", "315360000", "--fork", "--kill-child")
        nodes.join(1)
        nodes.join(2)
        nodes.await_all_up((1, 2))
        expect(nodes.nodes(1)["node2"]["network_us"] < 60e6, nodes.nodes(1))


@test
def an_idle_service_sleeps():
    with Nodes(2, 2) as nodes:
        pid = nodes.ask(1, "status")["pid"]

        def woken():
            with open(f"/proc/{pid}/status") as f:
                return [line for line in f if "ctxt_switches" in line]

        def slept():
            before = woken()
            time.sleep(2)
            return woken() == before

        await_(slept, "two seconds of sleep")


# ---- strangers ----


def send(words, wait=True):
    """Says that to node 1, and hears what it answers until it closes."""
    heard = b""
    with socket.create_connection((address(1), PORT), timeout=LIMIT) as s:
        try:
            s.sendall(words)
            while wait:
                got = s.recv(65536)
                if not got:
                    break
                heard += got
        except ConnectionError:
            pass
    return heard


@test
def nonsense_is_survived():
    with Nodes(3, 2) as nodes:
        rng = random.Random(1)
        good = nodes.counter(1, "channel_ups")
        with inside(nodes, 3):
            told = send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            expect(told[2:3] == b"\x04", f"no refusal but {told}")
            for size in (1, 2, 3):
                send(bytes(size), wait=False)
            for _ in range(60):
                send(rng.randbytes(rng.randrange(1, 3000)), wait=False)
            for kind in range(0, 7):
                for size in (0, 1, 24, 56, 57, 200, 252, 253, 65535):
                    words = rng.randbytes(min(size, 300))
                    if size >= 24 and kind == 1:
                        words = b"CWCL\0\1\0\0" + words[8:]
                    send(size.to_bytes(2, "big") + bytes([kind, 0]) + words, wait=False)
        expect(nodes.state(1, 2) == "up" and nodes.counter(1, "channel_ups") == good, "the channel to node 2 suffered")
        nodes.join(3)
        nodes.await_all_up((1, 2, 3))


@test
def a_flood_of_silent_connections_keeps_nobody_out():
    with Nodes(4, 2) as nodes:
        held = []
        try:
            for i in (3, 4):
                with inside(nodes, i):
                    for _ in range(150):
                        s = socket.socket()
                        s.setblocking(False)
                        with contextlib.suppress(BlockingIOError):
                            s.connect((address(1), PORT))
                        held.append(s)
            await_(lambda: nodes.counter(1, "channel_strangers") > 200, "connections that are turned away")
            nodes.kill(2)
            nodes.serve(2)
            nodes.await_all_up((1, 2))
            # None may stay for ever.
            await_(lambda: all(ended(s) for s in held), "the end of all silent connections")
            nodes.join(3)
            nodes.await_all_up((1, 2, 3))
        finally:
            for s in held:
                s.close()


def ended(s):
    try:
        while s.recv(4096):
            pass
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True


# ---- a member that has gone mad ----


@test
def a_mad_member_hurts_nobody():
    with Nodes(3, 3) as nodes:
        nodes.kill(3)
        nodes.await_state(1, 3, "down")
        pid, downs = nodes.ask(1, "status")["pid"], nodes.counter(2, "channel_downs")
        for seed in range(2):
            done = nodes.do(3, f"{BUILD}/tests/cluster/member", nodes.directory(3), address(1), str(seed), "80")
            expect(done.returncode == 0, done.stderr)
        expect(nodes.ask(1, "status")["pid"] == pid, "the service is another")
        expect(nodes.state(1, 2) == "up" and nodes.counter(2, "channel_downs") == downs, "the channel to node 2 suffered")
        expect("\033" not in open(nodes.log(1)).read() + str(nodes.nodes(1)), "it wrote on terminals")
        nodes.serve(3)
        nodes.await_all_up((1, 2, 3))


@test
def a_member_that_hoards_connections_is_refused():
    with Nodes(2, 2) as nodes:
        nodes.kill(2)
        nodes.await_state(1, 2, "down")
        done = nodes.do(2, f"{BUILD}/tests/cluster/member", nodes.directory(2), address(1), "hold", "30")
        expect(done.returncode == 0 and int(done.stdout) >= 20, f"refused: {done.stdout} {done.stderr}")
        nodes.serve(2)
        nodes.await_all_up((1, 2))


@test
def what_is_damaged_can_be_left():
    with Nodes(2, 2) as nodes:
        with open(f"{nodes.directory(2)}/map", "r+b") as f:
            f.write(b"nonsense")
        nodes.refused(2, "--force", "leave")
        nodes.cluster_json(2, "leave", "--force")
        expect("node.key" not in files(nodes.directory(2)) and nodes.nodes(2) == {}, "it is not left")


@test
def an_export_that_can_not_be_written_adds_nobody():
    with Nodes(1, 1) as nodes:
        nodes.refused(1, "nowhere", "export", "node2", "--address", address(2), "--file", f"{nodes.place}/nowhere/secret")
        expect(set(nodes.nodes(1)) == {"node1"}, "it was added")
        expect([node["name"] for node in nodes.cluster_json(1, "show")["nodes"]] == ["node1"], "it was kept")
