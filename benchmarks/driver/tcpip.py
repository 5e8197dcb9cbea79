"""The TCP/IP core of transport/tcpip by itself: two of them in one process, their instructions by callgrind, and one beside kernel TCP's cubic."""

import json
import os
import re
import subprocess

import tools
from figures import Curve, Figure, at_least, at_most, curve
from run import CAUSEWAY, KERNEL, Failure, NotRun, alternate

STAGES = {"send": "stage_send", "receive": "stage_receive", "acknowledgement sent": "stage_acknowledge", "acknowledgement received": "stage_acknowledged"}


def core(runner, scale, only, key):
    return [runner.own(KERNEL, "tcpip", "--only", only, "--seconds", scale.seconds)[key] for _ in range(scale.rounds)]


def simple(key, short, title, unit, only, name, divide, least=None):
    """A figure that has no kernel beside it, and perhaps a floor."""

    def measured(runner, scale):
        values = [value / divide for value in core(runner, scale, only, name)]
        figure = Figure(key, short, title, unit, f"tcpip --only {only}", {CAUSEWAY: values}, f"{unit}", values)
        return at_least(figure, least, f"{least} or more") if least else figure

    return measured


tcpip_large = simple("tcpip_large", "cores, 64 KiB", "two TCP/IP cores in one process, 64 KiB segments, partial checksums", "Gb/s", "large", "gigabits_per_second_64k", 1, 40)
tcpip_copies = simple("tcpip_copies", "cores, 64 KiB, copies", "two TCP/IP cores, 64 KiB segments, and programs copying in and out of the rings", "Gb/s", "copies",
                      "gigabits_per_second_64k_with_copies", 1)
tcpip_packets = simple("tcpip_packets", "cores, packets", "two TCP/IP cores in one process, packets of 1500, checksums made and checked", "Gb/s", "packets",
                       "gigabits_per_second_packets", 1, 5)
tcpip_partial = simple("tcpip_partial", "cores, packets, partial", "two TCP/IP cores, packets of 1500, partial checksums", "Gb/s", "offload", "gigabits_per_second_packets_partial", 1)
tcpip_requests = simple("tcpip_requests", "cores, requests", "requests and answers of 64 bytes between two TCP/IP cores in one process", "thousand/s", "requests",
                        "requests_per_second", 1000)
tcpip_connections = simple("tcpip_connections", "cores, connections", "connections opened and closed between two TCP/IP cores in one process", "thousand/s", "connections",
                           "connections_per_second", 1000, 200)


def tcpip_idle(runner, scale):
    found = runner.own(KERNEL, "tcpip", "--only", "idle")
    if found["idle_connections"] != 100000:
        raise Failure(f"{found['idle_connections']} of 100,000 connections were made")
    figure = Figure("tcpip_idle", "100,000 idle", "a TCP/IP core with 100,000 idle connections: memory of each but its rings", "bytes", "tcpip --only idle",
                    {CAUSEWAY: [found["idle_bytes_each"]]}, "timers in an hour", [found["idle_timers_in_an_hour"]])
    return at_most(figure, 0, "0")


def tcpip_loss(runner, scale):
    """In real time: what the two make of a link of 100 Mb/s that loses one packet in a hundred, 20 ms there and back."""
    if os.geteuid() != 0 or not os.path.exists("/dev/net/tun"):
        raise NotRun("it needs root and /dev/net/tun")
    seeds = {KERNEL: 0, CAUSEWAY: 0}

    def measure(mode):
        seeds[mode] += 1
        arguments = ("--sender", "core" if mode == CAUSEWAY else "kernel", "--loss", 0.01, "--seconds", 6 * scale.seconds, "--seed", seeds[mode])
        return runner.own(KERNEL, "tcpip_path", *arguments)["megabits_per_second"]

    samples = alternate(scale.rounds, {mode: lambda mode=mode: measure(mode) for mode in (KERNEL, CAUSEWAY)})
    values = [c / k for k, c in zip(samples[KERNEL], samples[CAUSEWAY])]
    figure = Figure("tcpip_loss", "core, 1 % lost", "one TCP/IP core beside the kernel's cubic: 100 Mb/s, 20 ms, 1 % lost", "Mb/s", "tcpip_path --loss 0.01", samples,
                    "core / kernel", values)
    return at_least(figure, 1, "1 or more")


def instructions(runner, *arguments):
    """Instructions a call of each stage, all that it calls included; and the bytes of a segment."""
    tools.need("valgrind", "callgrind_annotate")
    output = f"{runner.scratch}/callgrind.out"
    # memcpy as the processor does it: valgrind counts each byte of a string instruction.
    command = ["env", "GLIBC_TUNABLES=glibc.cpu.x86_rep_movsb_threshold=1000000000", "valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={output}",
               f"{runner.build}/benchmarks/tcpip_stages", "--json", *map(str, arguments)]
    found = json.loads(runner.run(KERNEL, command))
    shown = subprocess.run(["callgrind_annotate", "--inclusive=yes", "--threshold=100", "--auto=no", output], capture_output=True, text=True, check=True, timeout=60).stdout
    total = {name: int(count.replace(",", "")) for count, name in re.findall(r"^\s*([\d,]+)[^\n]*:(stage_[a-z]+)", shown, re.MULTILINE)}
    missing = set(found["calls"]) - set(total)
    if missing:
        raise Failure(f"callgrind has nothing of {', '.join(sorted(missing))}")
    return {stage: total[stage] / calls for stage, calls in found["calls"].items()}, found["bytes_a_frame"]


def stages(runner, key, title, kinds):
    points = {name: [] for name in STAGES}
    for arguments in kinds:
        found, length = instructions(runner, *arguments)
        for name, stage in STAGES.items():
            points[name].append({length: found[stage]})
    joined = {name: curve({name: [dict(pair for part in parts for pair in part.items())]})[name] for name, parts in points.items()}
    return Curve(key, title, "bytes a segment", "instructions", "valgrind --tool=callgrind tcpip_stages", joined)


def tcpip_stages(runner, scale):
    kinds = (("--partial", "--mtu", 576), ("--partial",), ("--partial", "--mtu", 9000), ("--large",))
    return stages(runner, "tcpip_stages", "Instructions of the TCP/IP core a segment by stage, partial checksums", kinds)


def tcpip_stages_sums(runner, scale):
    kinds = (("--mtu", 576), (), ("--mtu", 9000))
    return stages(runner, "tcpip_stages_sums", "Instructions of the TCP/IP core a segment by stage, checksums made and checked", kinds)


def counted(key, short, title, stage):
    def measured(runner, scale):
        found, _ = instructions(runner)
        return Figure(key, short, title, "instructions", "valgrind --tool=callgrind tcpip_stages", {CAUSEWAY: [found[stage]]}, "instructions", [found[stage]])

    return measured


def by_the_byte(key, short, title, stage, *arguments):
    """What the bytes cost: the slope from packets of 576 to packets of 9000."""

    def measured(runner, scale):
        few, less = instructions(runner, *arguments, "--mtu", 576)
        many, more = instructions(runner, *arguments, "--mtu", 9000)
        slope = (many[stage] - few[stage]) / (more - less)
        return Figure(key, short, title, "instructions", "valgrind --tool=callgrind tcpip_stages", {CAUSEWAY: [slope]}, "instructions", [slope])

    return measured


tcpip_request_cost = counted("tcpip_request_cost", "request, instructions", "instructions of both TCP/IP cores for a request and an answer of 64 bytes", "stage_request")
tcpip_connection_cost = counted("tcpip_connection_cost", "connection, instructions", "instructions of both TCP/IP cores for a connection, opened and closed",
                                "stage_connection")
tcpip_byte_sent = by_the_byte("tcpip_byte_sent", "byte sent", "instructions a byte sent, checksum made", "stage_send")
tcpip_byte_received = by_the_byte("tcpip_byte_received", "byte received", "instructions a byte received: checked and copied", "stage_receive")
tcpip_byte_copied = by_the_byte("tcpip_byte_copied", "byte received, partial", "instructions a byte received with a partial checksum: copied", "stage_receive", "--partial")

FIGURES = (tcpip_large, tcpip_packets, tcpip_connections, tcpip_idle, tcpip_loss, tcpip_copies, tcpip_partial, tcpip_requests, tcpip_request_cost, tcpip_connection_cost,
           tcpip_byte_sent, tcpip_byte_received, tcpip_byte_copied)
CURVES = (tcpip_stages, tcpip_stages_sums)
NOT_QUICK = (tcpip_loss,)
