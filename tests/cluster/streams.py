"""Streams between the programs of two nodes, moved to memory."""
import os
import signal
import sys

from nodes import HERE, LIMIT, Nodes, Skip, address, await_, expect, expect_by_ring, free_port, last_line, shutil, test


def talk(nodes, rounds, report=None):
    port = free_port()
    script = [sys.executable, f"{HERE}/talk.py"]
    options = ["--report", report] if report else []
    listener = nodes.start(1, ["causeway", "run", *options, *script, "listen", address(1), port, str(rounds)])
    expect(listener.stdout.readline() == "ready\n", "the listener did not begin")
    return listener, nodes.start(2, ["causeway", "run", *script, "connect", address(1), port, str(rounds)])


def await_moved(nodes):
    await_(lambda: nodes.counter(1, "between_granted"), "a slot")


def await_given_back(nodes):
    for i in (1, 2):
        await_(lambda: nodes.ask(i, "status")["slots"] == 0 and nodes.ask(i, "status")["arenas"] == 0, "memory given back")


@test
def streams_are_moved_and_right():
    with Nodes(2, 2) as nodes:
        report = f"{nodes.place}/report"
        for end in talk(nodes, 3000, report):
            expect(last_line(end) == "done 3000", "content, or the end")
        expect_by_ring(report, 0.5)
        await_given_back(nodes)
        for i in (1, 2):
            expect(nodes.counter(i, "between_unproved") == 0, "not proved")


@test
def out_of_a_cluster_nothing_is_moved():
    with Nodes(2) as nodes:
        for end in talk(nodes, 500):
            expect(last_line(end) == "done 500", "content, or the end")
        for i in (1, 2):
            expect(nodes.counter(i, "offers") == 0, "offered to a service that knows of no other node")


def service_killed(which):
    with Nodes(2, 2) as nodes:
        other = 3 - which
        ends = talk(nodes, 6000)
        await_moved(nodes)
        nodes.kill(which)
        await_(lambda: nodes.counter(other, "between_lost") == 1, "the loss of the node")
        for end in ends:
            expect(last_line(end) == "done 6000", "the stream did not go on")
        nodes.serve(which)
        nodes.await_all_up((1, 2))

        # New ones are moved again.
        def again():
            for end in talk(nodes, 500):
                expect(last_line(end) == "done 500", "content, or the end")
            return nodes.counter(which, "between_granted")

        await_(again, "a stream that is moved again")


@test
def the_first_service_is_killed():
    service_killed(1)


@test
def the_second_service_is_killed():
    service_killed(2)


@test
def a_frozen_service_is_noticed_by_its_heartbeat():
    """Nobody asks it anything: the kernel answers for it, and its connection stays."""
    with Nodes(2, 2) as nodes:
        ends = talk(nodes, 1000000)
        await_moved(nodes)
        nodes.service[2].send_signal(signal.SIGSTOP)
        try:
            await_(lambda: nodes.counter(1, "between_lost") == 1, "the loss of the node")
            expect(nodes.counter(1, "between_silent") >= 1, "not by its heartbeat")
            for _ in range(2):
                expect(ends[1].stdout.readline().startswith("at "), "the stream did not go on")
        finally:
            nodes.service[2].send_signal(signal.SIGCONT)
        nodes.await_all_up((1, 2))
        talk(nodes, 1000000)
        await_(lambda: nodes.counter(1, "between_granted") > 1, "a stream that is moved again")


@test
def nodes_are_added_and_removed_under_traffic():
    with Nodes(3, 2) as nodes:
        ends = talk(nodes, 1000000)
        await_moved(nodes)

        def goes_on():
            for _ in range(2):
                expect(ends[1].stdout.readline().startswith("at "), "the stream did not go on")

        nodes.join(3)
        nodes.await_all_up((1, 2, 3))
        nodes.cluster_json(1, "remove", "node3")
        await_(lambda: "node3" not in nodes.nodes(2), "a map without node3")
        goes_on()
        expect(nodes.counter(1, "between_lost") == nodes.counter(2, "between_lost") == 0, "the stream's nodes were taken for lost")
        # One of its own: it goes on by the kernel.
        nodes.cluster_json(1, "remove", "node2")
        for i in (1, 2):
            await_(lambda: nodes.counter(i, "between_lost") == 1, "the loss of the other node")
        goes_on()


def program_killed(which):
    with Nodes(2, 2) as nodes:
        ends = talk(nodes, 1000000)
        await_moved(nodes)
        expect(ends[1].stdout.readline() == "at 300\n", "it did not come so far")
        ends[which].send_signal(signal.SIGKILL)
        said = last_line(ends[1 - which])
        expect(said.startswith("ended"), said)
        await_given_back(nodes)


@test
def the_listener_is_killed():
    program_killed(0)


@test
def the_caller_is_killed():
    program_killed(1)


@test
def many_connections_one_after_the_other():
    with Nodes(2, 2) as nodes:
        for _ in range(5):
            for end in talk(nodes, 300):
                expect(last_line(end) == "done 300", "content, or the end")
        for i in (1, 2):
            expect(nodes.counter(i, "between_granted") == 5, f"{nodes.counter(i, 'between_granted')} of 5 were moved")
        await_given_back(nodes)


# ---- programs that know nothing of it ----


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            raise Skip(f"{program} is not installed")


def await_listening(nodes, i, port):
    await_(lambda: f":{port} " in nodes.do(i, "ss", "-Hltn").stdout, "a server")


@test
def sockperf():
    need("sockperf")
    with Nodes(2, 2) as nodes:
        port, report = free_port(), f"{nodes.place}/report"
        server = nodes.start(1, ["causeway", "run", "sockperf", "server", "--tcp", "-i", address(1), "-p", port])
        await_listening(nodes, 1, port)
        client = nodes.do(2, "causeway", "run", "--report", report, "sockperf", "ping-pong", "--tcp", "--mps", "500000", "-i", address(1), "-p",
                          port, "-t", "1")
        expect(client.returncode == 0, client.stdout + client.stderr)
        expect_by_ring(report, 0.5)
        expect("dropped messages = 0; # duplicated messages = 0" in client.stdout, client.stdout)
        server.kill()


@test
def iperf3():
    need("iperf3")
    with Nodes(2, 2) as nodes:
        port, report = free_port(), f"{nodes.place}/report"
        nodes.start(1, ["causeway", "run", "iperf3", "-s", "-1", "-p", port])
        await_listening(nodes, 1, port)
        client = nodes.do(2, "causeway", "run", "--report", report, "iperf3", "-c", address(1), "-p", port, "-n", "2G")
        expect(client.returncode == 0, client.stdout + client.stderr)
        # Until both nodes have agreed it goes by the kernel, and at full speed.
        expect_by_ring(report, 0.2)


@test
def redis():
    need("redis-server", "redis-cli", "redis-benchmark")
    with Nodes(2, 2) as nodes:
        port, report = free_port(), f"{nodes.place}/report"
        server = nodes.start(1, ["causeway", "run", "--report", report, "redis-server", "--port", port, "--bind", address(1), "--save", "",
                                 "--protected-mode", "no"])
        await_listening(nodes, 1, port)
        done = nodes.do(2, "causeway", "run", "redis-benchmark", "-h", address(1), "-p", port, "-t", "set,get", "-n", "20000", "-c", "4",
                        "-d", "512", "-q")
        expect(done.returncode == 0, done.stdout + done.stderr)
        # Many values over one connection, each way, and compared.
        values = {f"key{i}": f"{i}-" + f"{i * 7919:x}" * (1 + i * 37 % 200) for i in range(1500)}
        write = "".join(f"SET {key} {value}\n" for key, value in values.items())
        read = "".join(f"GET {key}\n" for key in values)
        client = ["causeway", "run", "redis-cli", "-h", address(1), "-p", port]
        expect(set(nodes.do(2, *client, input=write).stdout.split()) == {"OK"}, "values were not taken")
        expect(nodes.do(2, *client, input=read).stdout.split() == list(values.values()), "other values came back")
        nodes.do(1, "redis-cli", "-h", address(1), "-p", port, "shutdown", "nosave")
        server.wait(LIMIT)
        expect_by_ring(report, 0.5)
