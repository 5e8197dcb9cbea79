"""Nodes for tests: network namespaces with a service each (netns), and what one asks them."""
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.abspath(os.environ.get("BUILD", os.path.join(HERE, "../../build")))
NETNS = os.path.join(HERE, "netns")
LIMIT = 60
LONG = os.environ.get("CW_TEST_LONG") == "1"
TESTS = []


class Skip(Exception):
    pass


def test(function):
    TESTS.append(function)
    return function


def expect(true, why):
    if not true:
        raise AssertionError(why)


def await_(condition, what):
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"in {LIMIT} s it did not come: {what}")


def address(i):
    return f"10.97.0.{i}"


def address6(i):
    return f"fd97::{i}"


class Nodes:
    """Nodes 1 to count. joined: how many of them are in one cluster, made by node 1."""

    def __init__(self, count, joined=0, both=False):
        self.count, self.joined, self.both = count, joined, both
        self.place = tempfile.mkdtemp(prefix="causeway-cluster-")
        os.rmdir(self.place)
        self.environment = dict(os.environ, CW_NETNS=self.place, BUILD=BUILD)
        self.children = []
        self.service = {}

    def __enter__(self):
        try:
            subprocess.run([NETNS, "bare", str(self.count)], check=True, env=self.environment, timeout=LIMIT)
            self.tag = open(f"{self.place}/tag").read()
            for i in range(1, self.count + 1):
                self.serve(i)
            for i in range(1, self.joined + 1):
                self.join(i)
            self.await_all_up(range(1, self.joined + 1))
        except BaseException:
            self.__exit__(1)
            raise
        return self

    def __exit__(self, failed, *_):
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait()
            if child.stdout:
                child.stdout.close()
        for i in self.service if failed else []:
            print(f"--- the service of node {i}:\n{open(self.log(i)).read()}", flush=True)
        subprocess.run([NETNS, "down"], env=self.environment, timeout=LIMIT)
        shutil.rmtree(self.place, ignore_errors=True)

    def net(self, i):
        return f"causeway-{self.tag}-{i}"

    def directory(self, i):
        return f"{self.place}/{i}/cluster"

    def log(self, i):
        return f"{self.place}/{i}/log"

    # ---- commands ----

    def start(self, i, command, output=subprocess.PIPE, **more):
        child = subprocess.Popen([NETNS, "run", str(i), *command], stdout=output, text=True, stdin=subprocess.DEVNULL, env=self.environment,
                                 **more)
        self.children.append(child)
        return child

    def do(self, i, *command, **more):
        return subprocess.run([NETNS, "run", str(i), *command], capture_output=True, text=True, env=self.environment, timeout=LIMIT, **more)

    def cluster(self, i, *arguments):
        return self.do(i, "causeway", "cluster", *arguments, "--directory", self.directory(i))

    def cluster_json(self, i, *arguments):
        done = self.cluster(i, *arguments, "--json")
        expect(done.returncode == 0, f"cluster {arguments}: {done.stderr}")
        return json.loads(done.stdout)

    def refused(self, i, why, *arguments):
        done = self.cluster(i, *arguments)
        expect(done.returncode == 1 and why in done.stderr, f"cluster {arguments}: {done.returncode} {done.stdout} {done.stderr}")

    def ask(self, i, what):
        done = self.do(i, "causeway", what, "--json")
        return json.loads(done.stdout) if done.returncode == 0 else None

    def counter(self, i, name):
        status = self.ask(i, "status")
        return status["counters"][name] if status else None

    # ---- services ----

    def serve(self, i, *before, wait=True):
        command = [*before, NETNS, "serve", str(i)]
        with open(self.log(i), "a") as log:
            self.service[i] = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.environment)
        self.children.append(self.service[i])
        if wait:
            await_(lambda: self.ask(i, "status"), f"the service of node {i}")

    def kill(self, i, how=signal.SIGKILL):
        self.service[i].send_signal(how)
        self.service[i].wait(LIMIT)

    # ---- the cluster ----

    def own(self, i):
        return ["--address", address(i)] + (["--address", address6(i)] if self.both else [])

    def invite(self, i=1, *options):
        return self.cluster_json(i, "invite", *options)["invitation"]

    def join(self, i, *options):
        if i == 1:
            self.cluster_json(1, "init", "--name", "node1", *self.own(1), *options)
        else:
            self.cluster_json(i, "join", address(1), self.invite(), "--name", f"node{i}", *self.own(i), *options)

    def nodes(self, i):
        said = self.ask(i, "nodes")
        return {node["name"]: node for node in said["nodes"]} if said else {}

    def state(self, i, other):
        return self.nodes(i).get(f"node{other}", {}).get("state")

    def await_state(self, i, other, state):
        try:
            await_(lambda: self.state(i, other) == state, state)
        except AssertionError:
            raise AssertionError(f"node{other} is not {state} as node{i} sees it: {self.nodes(i)}")

    def await_all_up(self, members):
        for i in members:
            for k in members:
                self.await_state(i, k, "up")


def free_port():
    return str(random.randrange(10000, 30000))


def last_line(child):
    return child.communicate(timeout=LIMIT)[0].strip().split("\n")[-1]


def read_report(path):
    def read():
        try:
            with open(path) as f:
                return json.load(f)
        except (OSError, ValueError):
            return None

    return await_(read, "a report")


def expect_by_ring(path, part):
    """How much of it is the looks', and so the scheduler's, matter: beside other tests some shows that it goes by ring."""
    said = read_report(path)["bytes"]
    ring = said["ring_in"] + said["ring_out"]
    went = ring / (ring + said["kernel_in"] + said["kernel_out"])
    expect(went > (part if LONG else 0), f"by ring {went}")
