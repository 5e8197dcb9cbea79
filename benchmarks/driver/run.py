"""Running commands without and with Causeway: the node service of this run, servers, clients, reports, and the alternation of the two."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time

KERNEL, CAUSEWAY = "kernel", "causeway"
MODES = (KERNEL, CAUSEWAY)


class Failure(Exception):
    """A command that did not do its work; the text says which and why."""


class NotRun(Exception):
    """A figure that can't be had here; the text says why."""


def end(process, limit=5.0):
    """Ends a process of ours by its pid; kills it if it does not go."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_bound(port):
    """To UDP."""
    with open("/proc/net/udp", encoding="ascii") as table:
        return any(line.split()[1].endswith(f":{port:04X}") for line in list(table)[1:])


def listens(port):
    """Whether something listens on the port; asked of the kernel, so that no server sees a connection of ours."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), open(table, encoding="ascii") as lines:
            for line in list(lines)[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:
                    return True
    return False


def wait_until(condition, what, limit=10.0):
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise Failure(f"{what} did not happen in {limit:g} s")
        time.sleep(0.01)


class Runner:
    """Everything that runs in one invocation. Commands run in `scratch`; nothing of it is left at the end."""

    def __init__(self, build, scratch, modes=MODES):
        self.build, self.scratch, self.modes = os.path.abspath(build), scratch, modes
        self.name = f"bench-{os.getpid()}"
        self.service = None
        self.reports = []
        self.count = 0

    def __enter__(self):
        if CAUSEWAY in self.modes:
            self.service = subprocess.Popen([f"{self.build}/causewayd", "--name", self.name], cwd=self.scratch, stdin=subprocess.DEVNULL)
            wait_until(self.service_is_up, "the start of causewayd")
        return self

    def __exit__(self, *_):
        if self.service:
            end(self.service)

    def service_is_up(self):
        if self.service.poll() is not None:
            raise Failure(f"causewayd ended with status {self.service.returncode}")
        with open("/proc/net/unix", encoding="utf-8", errors="replace") as lines:
            return any(self.name in line for line in lines)

    def start(self, mode, command, **options):
        """Starts the command in this mode; a report is asked for and kept for take_reports()."""
        if mode == CAUSEWAY:
            self.count += 1
            report = f"{self.scratch}/report-{self.count}"
            self.reports.append(report)
            command = [f"{self.build}/causeway", "run", "--service", self.name, "--report", report, "--", *command]
        return subprocess.Popen(command, cwd=self.scratch, stdin=subprocess.DEVNULL, text=True, **options)

    def run(self, mode, command, limit=60.0):
        """Runs the command to its end and returns what it wrote."""
        process = self.start(mode, command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            output, errors = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise Failure(f"{' '.join(command)} ({mode}) did not end in {limit:g} s") from None
        if process.returncode:
            raise Failure(f"{' '.join(command)} ({mode}) ended with status {process.returncode}: {errors.strip() or output.strip()}")
        return output

    @contextlib.contextmanager
    def serving(self, mode, command, port, stop=signal.SIGTERM, udp=False):
        """A server in this mode, from when it listens to the end of the block."""
        if not shutil.which(command[0]):
            raise NotRun(f"{command[0]} is not installed")
        with open(f"{self.scratch}/server.log", "w+", encoding="utf-8", errors="replace") as log:
            process = self.start(mode, command, stdout=log, stderr=subprocess.STDOUT)
            try:
                wait_until(lambda: (is_bound if udp else listens)(port) or process.poll() is not None, f"listening of {command[0]}")
                if process.poll() is not None:
                    log.seek(0)
                    raise Failure(f"{command[0]} ({mode}) ended at its start: {log.read().strip()[-400:]}")
                yield process
            finally:
                if process.poll() is None:
                    process.send_signal(stop)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(5)
                end(process)

    def own(self, mode, name, *arguments, limit=120.0):
        """One of the benchmark's own programs; returns its JSON."""
        return json.loads(self.run(mode, [f"{self.build}/benchmarks/{name}", "--json", *map(str, arguments)], limit))

    def take_reports(self):
        """The reports since the last time, added up."""
        taken, self.reports = self.reports, []
        whole = {}
        for path in taken:
            add(whole, read_report(path))
        return whole


def read_report(path, limit=5.0):
    """A report is written when the last process of its run has ended, so it may still be on its way."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError), open(path, encoding="utf-8") as file:
            return json.load(file)
        time.sleep(0.01)
    raise Failure("causeway run --report wrote no report")


def add(whole, part):
    for key, value in part.items():
        if isinstance(value, dict):
            add(whole.setdefault(key, {}), value)
        elif isinstance(value, (int, float)):
            whole[key] = whole.get(key, 0) + value


def alternate(rounds, measures):
    """A B A B: each round runs every measure once, so that what drifts on the machine meets all of them. {name: [value, ...]}"""
    samples = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            samples[name].append(measure())
    return samples
