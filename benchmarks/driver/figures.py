"""What is measured: one function a figure. Each returns a Figure (two modes and what they are held to) or a Curve (a series a mode)."""

import os
import shutil
import statistics
import subprocess
from dataclasses import dataclass, field

import tools
from run import CAUSEWAY, KERNEL, NotRun, alternate


@dataclass
class Scale:
    """How long everything takes."""

    rounds: int
    seconds: float
    redis_requests: int
    idle_streams: int
    idle_seconds: float
    sizes: tuple
    writes: tuple
    intervals: tuple


FULL = Scale(5, 1.0, 200000, 10000, 3.0, (1, 8, 64, 256, 1024, 4096, 16384, 65536), (64, 512, 4096, 16384, 65536, 262144, 1048576),
             (0, 5, 20, 50, 100, 1000))
QUICK = Scale(2, 0.3, 60000, 10000, 1.0, (64, 1024, 16384), (64, 4096, 65536), (0, 20, 100, 1000))
BRIEF = Scale(2, 2.0, 200000, 0, 0, (), (), ())  # the demo


@dataclass
class Figure:
    """Samples by mode; a metric made of them round by round; and the floor that the metric's median is held to."""

    key: str
    short: str
    title: str
    unit: str
    command: str
    samples: dict
    metric: str = ""
    values: list = field(default_factory=list)
    floor: str = ""
    met: bool | None = None
    report: dict = field(default_factory=dict)

    def medians(self):
        return {mode: statistics.median(values) for mode, values in self.samples.items() if values}


@dataclass
class Curve:
    key: str
    title: str
    x: str
    unit: str
    command: str
    points: dict  # mode: [[x, median, low, high], ...]


def compared(runner, scale, measure, faster_is):
    """Kernel and Causeway in turn. faster_is: what is better, "more" or "less". Returns samples and by how much Causeway is better."""
    samples = alternate(scale.rounds, {mode: lambda mode=mode: measure(mode) for mode in runner.modes})
    if CAUSEWAY not in samples or KERNEL not in samples:
        return samples, []
    pairs = zip(samples[KERNEL], samples[CAUSEWAY])
    return samples, [c / k if faster_is == "more" else k / c for k, c in pairs]


def at_least(figure, least, text):
    figure.floor = text
    figure.met = statistics.median(figure.values) >= least if figure.values else None
    return figure


def at_most(figure, most, text):
    figure.floor = text
    figure.met = statistics.median(figure.values) <= most if figure.values else None
    return figure


def sockperf(runner, scale):
    samples, values = compared(runner, scale, lambda mode: tools.sockperf(runner, mode, "ping-pong", max(1, scale.seconds)), "less")
    figure = Figure("sockperf", "sockperf ping-pong", "sockperf TCP ping-pong, 64 B, median half round trip", "us", "sockperf ping-pong --tcp -m 64 --mps 500000", samples,
                    "kernel / causeway", values)
    return at_least(figure, 40, "40 or more")


def sockperf_pinned(runner, scale):
    """Where the scheduler puts two programs that wake each other decides what the kernel needs: on one processor a fifth of what it needs on two."""
    samples, values = compared(runner, scale, lambda mode: tools.sockperf(runner, mode, "ping-pong", max(1, scale.seconds), pin=True), "less")
    figure = Figure("sockperf_pinned", "sockperf, two processors", "sockperf TCP ping-pong, 64 B, each end kept on a processor of its own", "us",
                    "taskset -c N sockperf ping-pong --tcp -m 64 --mps 500000", samples, "kernel / causeway", values)
    return at_least(figure, 40, "40 or more")


def sockperf_under_load(runner, scale):
    samples, values = compared(runner, scale, lambda mode: tools.sockperf(runner, mode, "under-load", max(1, scale.seconds)), "less")
    return Figure("sockperf_under_load", "sockperf under load", "sockperf TCP under load, 64 B, 10,000 a second, median latency", "us", "sockperf under-load --tcp -m 64",
                  samples, "kernel / causeway", values)


def sockperf_udp(runner, scale):
    samples, values = compared(runner, scale, lambda mode: tools.sockperf(runner, mode, "ping-pong", max(1, scale.seconds), pin=True, protocol=()), "less")
    figure = Figure("sockperf_udp", "sockperf UDP, two processors", "sockperf UDP ping-pong, 64 B, each end kept on a processor of its own", "us",
                    "taskset -c N sockperf ping-pong -m 64 --mps 500000", samples, "kernel / causeway", values)
    return at_least(figure, 30, "30 or more")


def datagrams(runner, scale):
    samples, _ = compared(runner, scale, lambda mode: runner.own(mode, "datagrams", "--seconds", scale.seconds)["received_per_second"] / 1e6, "more")
    figure = Figure("datagrams", "datagrams a second", "64-byte datagrams a second, sendto and recvfrom, as received", "million", "datagrams", samples,
                    "million a second", samples.get(CAUSEWAY, []))
    return at_least(figure, 5, "5 million or more")


def half_us(result):
    return result["results"][0]["half_us_median"]


def pingpong(runner, scale):
    arguments = ("--seconds", scale.seconds, *tools.cubic_own())
    measures = {
        "half cache line": lambda: runner.own(KERNEL, "limits", "--seconds", 0.2)["cache_line_round_trip_ns"] / 2000,
        "bare ring": lambda: runner.own(KERNEL, "bare_ring", "--seconds", 0.2)["half_round_trip_64_ns"] / 1000,
        "AF_UNIX": lambda: half_us(runner.own(KERNEL, "pingpong", "--unix", "--seconds", scale.seconds)),
    }
    for mode in runner.modes:
        measures[mode] = lambda mode=mode: half_us(runner.own(mode, "pingpong", *arguments))
    samples = alternate(scale.rounds, measures)
    values = [c / line for c, line in zip(samples.get(CAUSEWAY, []), samples["half cache line"])]
    figure = Figure("pingpong", "ping-pong", "send/recv ping-pong, 64 B, median half round trip", "us", "pingpong", samples, "causeway / half a cache line's round trip",
                    values)
    return at_most(figure, 6, "6 or less")


def pingpong_how(key, short, title, *arguments):
    def measured(runner, scale):
        own = (*arguments, "--seconds", scale.seconds, *tools.cubic_own())
        samples, values = compared(runner, scale, lambda mode: half_us(runner.own(mode, "pingpong", *own)), "less")
        return Figure(key, short, title, "us", f"pingpong {' '.join(arguments)}", samples, "kernel / causeway", values)

    return measured


pingpong_poll = pingpong_how("pingpong_poll", "ping-pong, poll", "ping-pong, waiting in poll", "--wait", "poll")
pingpong_epoll = pingpong_how("pingpong_epoll", "ping-pong, epoll", "ping-pong, waiting in epoll_wait", "--wait", "epoll")
pingpong_pinned = pingpong_how("pingpong_pinned", "ping-pong, two processors", "ping-pong, each end kept on a processor of its own", "--pin")
pingpong_seldom = pingpong_how("pingpong_seldom", "ping-pong, 1 ms apart", "ping-pong, 1 ms between messages", "--interval-us", "1000")


def message_rate(runner, scale):
    own = ("--seconds", scale.seconds, *tools.cubic_own())
    samples, _ = compared(runner, scale, lambda mode: runner.own(mode, "message_rate", *own)["messages_per_second"] / 1e6, "more")
    figure = Figure("message_rate", "8-byte messages", "8-byte send() calls a second, one stream, one thread a side", "million", "message_rate", samples,
                    "million a second", samples.get(CAUSEWAY, []))
    return at_least(figure, 10, "10 million or more")


def iperf3(runner, scale):
    samples, values = compared(runner, scale, lambda mode: tools.iperf3(runner, mode, max(1, 2 * scale.seconds)), "more")
    figure = Figure("iperf3", "iperf3", "iperf3, one stream (cubic)", "Gb/s", " ".join(["iperf3", *tools.cubic_iperf3()]), samples, "causeway / kernel", values)
    return at_least(figure, 3, "3 or more")


def redis(key, short, title, floor, pipeline):
    def measured(runner, scale):
        requests = scale.redis_requests * (1 if pipeline == 1 else 5)
        samples, values = compared(runner, scale, lambda mode: tools.redis(runner, mode, requests, pipeline) / 1000, "more")
        figure = Figure(key, short, title, "thousand/s", f"redis-benchmark -t get -c 50 -P {pipeline}", samples, "causeway / kernel", values)
        return at_least(figure, floor, f"{floor} or more") if floor else figure

    return measured


redis_get = redis("redis_get", "redis GET", "redis-benchmark GET, 50 clients, no pipeline", 3, 1)
redis_pipelined = redis("redis_pipelined", "redis GET -P 16", "redis-benchmark GET, 50 clients, 16 in a pipeline", 0, 16)


def nginx(runner, scale):
    samples, values = compared(runner, scale, lambda mode: tools.nginx(runner, mode, max(1, round(scale.seconds))) / 1000, "more")
    return Figure("nginx", "nginx, wrk", "nginx, 1 KiB file, wrk with 32 connections kept alive", "thousand/s", "wrk -t 1 -c 32", samples, "causeway / kernel", values)


def go(key, short, static):
    def measured(runner, scale):
        samples, values = compared(runner, scale, lambda mode: tools.go_pingpong(runner, mode, static) / 1000, "more")
        figure = Figure(key, short, f"a {short} program's net package: 64-byte round trips a second (layer 3)", "thousand/s", "go build; echo ping", samples,
                        "causeway / kernel", values)
        return at_least(figure, 1, "1 or more")

    return measured


go_dynamic = go("go_dynamic", "dynamic Go", False)
go_static = go("go_static", "static Go", True)


def short_connections(key, short, text, *options):
    def measured(runner, scale):
        own = ("--seconds", scale.seconds, *options)
        samples, values = compared(runner, scale, lambda mode: runner.own(mode, "connect_close", *own)["connections_per_second"] / 1000, "more")
        figure = Figure(key, short, text, "thousand/s", " ".join(("connect_close", *options)), samples, "causeway / kernel", values)
        return at_least(figure, 0.95, "0.95 or more")

    return measured


connect_close = short_connections("connect_close", "connect, close", "connect + one request + close, a second")
forked = short_connections("forked", "a process each", "connections of one request, a server's process for each, a second", "--fork")
forked_brief = short_connections("forked_brief", "a process each, 4 requests", "connections of four requests, a server's process for each, a second", "--fork",
                                 "--requests", "4")


def not_ours(runner, scale):
    """The worst of several calls, each by its own median: short runs, many of them, because the difference looked for is small."""
    by_call, rounds = {}, 3 * scale.rounds

    def measure(mode):
        times = runner.own(mode, "not_ours", "--pin", "--seconds", min(0.4, scale.seconds))["ns"]
        for call, ns in times.items():
            by_call.setdefault(call, {}).setdefault(mode, []).append(ns)
        return statistics.mean(times.values())

    samples = alternate(rounds, {mode: lambda mode=mode: measure(mode) for mode in runner.modes})
    values = []
    if CAUSEWAY in samples and KERNEL in samples:
        values = [statistics.median(c / k for k, c in zip(times[KERNEL], times[CAUSEWAY])) for times in by_call.values()]
    figure = Figure("not_ours", "not ours", "a call on a descriptor that is not ours (worst of four)", "ns", "not_ours", samples,
                    "causeway / kernel, a call", values)
    figure.floor, figure.met = "1.03 or less", max(values) <= 1.03 if values else None
    return figure


def epoll_idle(runner, scale):
    own = ("--pin", "--seconds", scale.seconds, "--idle", scale.idle_streams)
    found = []

    def measure(mode):
        result = runner.own(mode, "epoll_idle", *own)
        if mode == CAUSEWAY:
            found.append(result)
        return result["among_half_us_median"]

    samples = alternate(min(3, scale.rounds), {mode: lambda mode=mode: measure(mode) for mode in runner.modes})
    idle = found[0]["idle"] if found else scale.idle_streams
    figure = Figure("epoll_idle", "1 of 10,000", f"1 busy stream among {idle:,} idle in one epoll set, half round trip", "us", "epoll_idle", samples,
                    "among / alone", [result["among_over_alone"] for result in found])
    return at_most(figure, 1.2, "1.2 or less")


def idle(runner, scale):
    """Voluntary context switches of both programs (and the service); the processor time is asked to be nothing as well."""
    waits = ("recv", "poll", "epoll")
    cpu = []

    def measure(mode, wait):
        watch = ("--watch", runner.service.pid) if mode == CAUSEWAY else ()
        processes = runner.own(mode, "idle", "--seconds", scale.idle_seconds, "--wait", wait, *watch)["processes"]
        if mode == CAUSEWAY:
            cpu.append(sum(process["cpu_us"] for process in processes))
        return sum(process["voluntary"] for process in processes)

    samples = {mode: [measure(mode, wait) for wait in waits] for mode in runner.modes}
    figure = Figure("idle", "idle", f"idle programs, {scale.idle_seconds:g} s in {', '.join(waits)}: voluntary switches", "", "idle", samples, "us of processor time",
                    cpu)
    figure.floor = "0 and 0"
    figure.met = not any(samples[CAUSEWAY]) and not any(cpu) if cpu else None
    return figure


def start(runner, scale):
    true = shutil.which("true")
    commands = {KERNEL: [true], CAUSEWAY: [f"{runner.build}/causeway", "run", "--service", runner.name, "--", true]}

    def measure(mode):
        return runner.own(KERNEL, "start", "--count", 20 if scale is QUICK else 50, "--", *commands[mode])["us_median"] / 1000

    samples = alternate(scale.rounds, {mode: lambda mode=mode: measure(mode) for mode in runner.modes})
    values = [c - k for k, c in zip(samples[KERNEL], samples.get(CAUSEWAY, []))]
    figure = Figure("start", "start", "start of `causeway run true`, the service being up", "ms", "start -- causeway run -- true", samples, "ms over `true`", values)
    return at_most(figure, 5, "5 ms or less")


def start_static(runner, scale):
    """A static program that does nothing, by the loader."""
    source, program = f"{runner.scratch}/nothing.c", f"{runner.scratch}/nothing"
    with open(source, "w", encoding="ascii") as file:
        file.write("int main(void) { return 0; }\n")
    subprocess.run([os.environ.get("CC", "gcc"), "-static", "-o", program, source], check=True, timeout=60)
    commands = {KERNEL: [program], CAUSEWAY: [f"{runner.build}/causeway", "run", "--service", runner.name, "--", program]}

    def measure(mode):
        return runner.own(KERNEL, "start", "--count", 20 if scale is QUICK else 50, "--", *commands[mode])["us_median"] / 1000

    samples = alternate(scale.rounds, {mode: lambda mode=mode: measure(mode) for mode in runner.modes})
    values = [c - k for k, c in zip(samples[KERNEL], samples.get(CAUSEWAY, []))]
    figure = Figure("start_static", "start, static", "start of `causeway run` of a static program (layer 3)", "ms", "start -- causeway run -- nothing", samples,
                    "ms over the program", values)
    return at_most(figure, 5, "5 ms or less")


def limits(runner, scale):
    """The machine's own, which no transport can pass."""
    lines = alternate(scale.rounds, {name: lambda name=name: runner.own(KERNEL, name) for name in ("limits", "bare_ring", "wake")})
    median = lambda name, key: statistics.median(result[key] for result in lines[name])
    return {
        "cache line handed over and back, ns": median("limits", "cache_line_round_trip_ns"),
        "bare ring, 64 B, half round trip, ns": median("bare_ring", "half_round_trip_64_ns"),
        "bare ring, 8-byte messages, million/s": median("bare_ring", "messages_8_per_second") / 1e6,
        "bare ring, 64 KiB writes, Gb/s": median("bare_ring", "gigabits_per_second_64k"),
        "memcpy 128 KiB, GB/s": median("limits", "copy_128k_gigabytes_per_second"),
        "memcpy 256 MiB, GB/s": median("limits", "copy_256m_gigabytes_per_second"),
        "wake-up by pipe, us": median("wake", "pipe_half_us_median"),
        "wake-up by eventfd, us": median("wake", "eventfd_half_us_median"),
        "wake-up by futex, us": median("wake", "futex_half_us_median"),
    }


def curve(samples):
    """{mode: [{x: value}, ...]} to {mode: [[x, median, low, high], ...]}"""
    points = {}
    for mode, rounds in samples.items():
        points[mode] = [[x, statistics.median(each[x] for each in rounds), min(each[x] for each in rounds), max(each[x] for each in rounds)]
                        for x in rounds[0]] if rounds else []
    return points


def latency_curve(runner, scale):
    sizes = ",".join(map(str, scale.sizes))

    def measure(mode, *more):
        result = runner.own(mode, "pingpong", "--size", sizes, "--seconds", scale.seconds / 2, *more)
        return {each["size"]: each["half_us_median"] for each in result["results"]}

    measures = {mode: lambda mode=mode: measure(mode, *tools.cubic_own()) for mode in runner.modes}
    measures["AF_UNIX"] = lambda: measure(KERNEL, "--unix")
    samples = alternate(min(3, scale.rounds), measures)
    return Curve("latency", "Half round trip by size", "bytes a message", "us", f"pingpong --size {sizes}", curve(samples))


def stream_curve(runner, scale):
    writes = ",".join(map(str, scale.writes))

    def measure(mode, *more):
        result = runner.own(mode, "stream", "--size", writes, "--seconds", scale.seconds / 2, *more)
        return {each["size"]: each["gigabits_per_second"] for each in result["results"]}

    measures = {mode: lambda mode=mode: measure(mode, *tools.cubic_own()) for mode in runner.modes}
    measures["AF_UNIX"] = lambda: measure(KERNEL, "--unix")
    samples = alternate(min(3, scale.rounds), measures)
    return Curve("stream", "Throughput of one stream by size of write", "bytes a write", "Gb/s", f"stream --size {writes}", curve(samples))


def doorbell_curve(runner, scale):
    """One way, a message every so many microseconds; the report counts the doorbells, the program its messages."""
    if CAUSEWAY not in runner.modes:
        raise NotRun("kernel TCP has no doorbells to count")
    points = []
    for interval in scale.intervals:
        shares = []
        for _ in range(min(3, scale.rounds)):
            runner.take_reports()
            sent = runner.own(CAUSEWAY, "message_rate", "--interval-us", interval, "--seconds", scale.seconds)["messages"]
            shares.append(runner.take_reports().get("doorbells", 0) / sent)
        points.append([interval, statistics.median(shares), min(shares), max(shares)])
    return Curve("doorbells", "Doorbells a message", "us between messages", "doorbells a message", "message_rate --interval-us N", {CAUSEWAY: points})


FIGURES = (sockperf, sockperf_pinned, sockperf_udp, pingpong, message_rate, datagrams, iperf3, redis_get, connect_close, forked,
           forked_brief, not_ours, epoll_idle, idle, start, pingpong_pinned, pingpong_poll, pingpong_epoll, pingpong_seldom,
           sockperf_under_load, redis_pipelined, nginx, go_dynamic, go_static, start_static)
CURVES = (latency_curve, stream_curve, doorbell_curve)
NOT_QUICK = (sockperf_under_load, pingpong_pinned, pingpong_poll, go_static)


def machine():
    """What the figures were measured on; nothing that names the machine or a place on it."""

    def first(path, key, default="unknown"):
        try:
            with open(path, encoding="utf-8") as lines:
                return next((line.split(":" if ":" in line else "=", 1)[1].strip().strip('"') for line in lines if line.startswith(key)), default)
        except OSError:
            return default

    def whole(path):
        with open(path, encoding="ascii") as file:
            return file.read().strip()

    return {
        "processor": first("/proc/cpuinfo", "model name"),
        "processors": len(os.sched_getaffinity(0)),
        "virtual machine": "hypervisor" in first("/proc/cpuinfo", "flags", ""),
        "memory": first("/proc/meminfo", "MemTotal"),
        "system": first("/etc/os-release", "PRETTY_NAME"),
        "kernel": os.uname().release,
        "congestion control": whole("/proc/sys/net/ipv4/tcp_congestion_control"),
        "load at the start": os.getloadavg()[0],
    }
