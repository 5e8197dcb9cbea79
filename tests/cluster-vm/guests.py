"""Nodes for tests: QEMU guests of Debian's kernel that share a window by ivshmem-doorbell, and a network; and what one asks them."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
BUILD = os.path.abspath(os.environ.get("BUILD", os.path.join(TESTS, "../build")))
LIMIT = 120  # seconds; a guest without hardware virtualisation, on a machine that others use
WINDOW = 128 << 20
VECTORS = 4
NODES = (1, 2, 3)  # that there may be; the third is begun by the tests that need it
BOOT = 840  # seconds a guest may live
# In the order in which they need each other.
MODULES = ["virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "failover", "net_failover", "virtio_net",
           "inet_diag", "tcp_diag", "causeway"]
PROGRAMS = ["sockperf", "iperf3", "redis-server", "redis-cli", "redis-benchmark"]


class Skip(Exception):
    pass


class Missing(Exception):
    """Something that the guests are made of can't be had."""


def expect(true, why):
    if not true:
        raise AssertionError(why)


def await_(condition, what, limit=LIMIT):
    end = time.monotonic() + limit
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError(f"in {limit} s it did not come: {what}")


def address(i):
    return f"10.97.0.{i}"


def others(i):
    return [other for other in NODES if other != i]


# ---- what they are made of ----


def run(command, limit, **more):
    return subprocess.run(command, capture_output=True, text=True, timeout=limit, **more)


def kernel_headers():
    found = [f"/lib/modules/{name}/build" for name in sorted(os.listdir("/lib/modules")) if name.endswith("-amd64")] if os.path.isdir("/lib/modules") else []
    found = [path for path in found if os.path.exists(path)]
    return found[-1] if found else None


def prepare():
    """The kernel and the module, in BUILD."""
    if os.uname().machine != "x86_64":
        raise Missing("the guests are x86-64")
    if not shutil.which("qemu-system-x86_64"):
        raise Missing("no qemu-system-x86_64 (package qemu-system-x86)")
    headers = kernel_headers()
    if not headers:
        raise Missing("no kernel headers (package linux-headers-amd64)")
    if run([f"{TESTS}/guest/kernel", f"{BUILD}/guest"], 150).returncode:
        raise Missing("no kernel to boot: none is installed, and the package could not be had")
    made = run([f"{TESTS}/make", "-s", "-C", os.path.dirname(TESTS), f"BUILD={BUILD}", f"KERNEL={headers}", "kmod", "cluster-vm"], 200)
    expect(made.returncode == 0, f"the module does not build: {made.stdout} {made.stderr}")
    release = re.search(r"version (\S+)", run(["file", "-bL", f"{BUILD}/guest/vmlinuz"], 10).stdout)
    with open(f"{BUILD}/kmod/causeway.ko", "rb") as module:
        if release and f"vermagic={release[1]} ".encode() not in module.read():
            raise Missing(f"the headers in {headers} are not those of the kernel that can be booted")


def end_well(*_):
    sys.exit("ended from outside")


signal.signal(signal.SIGTERM, end_well)  # so that guests end too


class Guest:
    def __init__(self, guests, i):
        self.guests, self.i = guests, i
        self.place = guests.place
        self.process = None
        # The first is peer 0. A number among the device's peers is another one after a guest's death.
        self.part = "" if i == 1 else f" --device-part {i - 1}"

    def path(self, name):
        return f"{self.place}/node{self.i}.{name}"

    def boot(self):
        for name in ("agent", "monitor", "pid"):
            if os.path.exists(self.path(name)):
                os.unlink(self.path(name))
        self.process = subprocess.Popen(
            [f"{TESTS}/guest/boot", self.path("log"), str(BOOT), f"{BUILD}/guest", f"{self.place}/image",
             "-serial", f"unix:{self.path('agent')},server=on,wait=off", "-monitor", f"unix:{self.path('monitor')},server=on,wait=off",
             *[word for other in others(self.i) for word in self.wire(other)], "-chardev", f"socket,path={self.place}/doorbells,id=doorbells", "-device", f"ivshmem-doorbell,chardev=doorbells,vectors={VECTORS}",
             "-pidfile", self.path("pid")],
            env=dict(os.environ, GUEST_WORDS=f"quiet oops=panic NODE={self.i} FURTHER={others(self.i)[-1]}"), stdin=subprocess.DEVNULL)
        self.line = await_(self.connected, "QEMU")
        self.heard = b""

    def wire(self, other):
        """A network card with a wire to one other guest, which may not be there."""
        ends = [f"{self.place}/wire-{a}-{b}" for a, b in ((self.i, other), (other, self.i))]
        if os.path.exists(ends[0]):
            os.unlink(ends[0])
        return ["-netdev", f"dgram,id=wire{other},local.type=unix,local.path={ends[0]},remote.type=unix,remote.path={ends[1]}",
                "-device", f"virtio-net-pci,netdev=wire{other},mac=52:54:00:97:0{other}:0{self.i},romfile="]

    def connected(self):
        """The socket is there before anybody listens."""
        expect(self.process.poll() is None, f"QEMU has ended with {self.process.returncode}")
        line = socket.socket(socket.AF_UNIX)
        line.settimeout(LIMIT)
        try:
            line.connect(self.path("agent"))
        except (ConnectionRefusedError, FileNotFoundError):
            line.close()
            return None
        return line

    def await_ready(self):
        self.until(rb"ready\n", 2 * LIMIT)

    def until(self, pattern, limit):
        end = time.monotonic() + limit
        while True:
            match = re.search(pattern, self.heard)
            if match:
                before, self.heard = self.heard[: match.start()], self.heard[match.end():]
                return before, match
            left = end - time.monotonic()
            expect(left > 0, f"node {self.i} did not answer in {limit} s: {self.heard[-300:]!r}")
            self.line.settimeout(left)
            try:
                got = self.line.recv(65536)
            except socket.timeout:
                continue
            expect(got, f"node {self.i} has ended")
            self.heard += got

    # ---- commands ----

    def begin(self, command):
        expect("\n" not in command and len(command) < 3500, command)
        self.line.sendall(command.encode() + b"\n")

    def result(self, limit=LIMIT):
        said, match = self.until(rb"\nstatus (\d+)\n", limit)
        return int(match[1]), said.decode(errors="replace")

    def do(self, command, limit=LIMIT):
        self.begin(command)
        return self.result(limit)

    def must(self, command, limit=LIMIT):
        status, said = self.do(command, limit)
        expect(status == 0, f"node {self.i}: {command}: status {status}: {said}")
        return said

    def ask(self, what):
        status, said = self.do(f"causeway {what} --json")
        return json.loads(said) if status == 0 else None

    def counter(self, name):
        status = self.ask("status")
        return status["counters"][name] if status else None

    def bell(self, name):
        """A counter of the module."""
        return int(self.must(f"cat /sys/class/causeway/ivshmem0/counters/{name}"))

    # ---- the service ----

    def serve(self):
        self.must(f"setsid causewayd --device ivshmem0{self.part} >>/var/log/causewayd 2>&1 </dev/null & sleep 0.1")
        await_(lambda: self.do("causeway status")[0] == 0, f"the service of node {self.i}")

    # ---- the machine ----

    def signal(self, number):
        with open(self.path("pid"), encoding="utf-8") as file:
            os.kill(int(file.read()), number)

    def monitor(self, word):
        """A word to QEMU, which has done it when it asks for the next one."""
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(LIMIT)
            line.connect(self.path("monitor"))
            said = b""
            for words in (word.encode() + b"\n", b""):
                while not said.endswith(b"(qemu) "):
                    said += line.recv(4096)
                line.sendall(words)
                said = b""

    def kill(self):
        self.signal(signal.SIGKILL)
        self.process.wait(LIMIT)
        self.line.close()


class Guests:
    """Nodes 1 and 2 of one cluster, and a third where it is asked for."""

    also = []  # lines of their images

    def __init__(self):
        self.place = tempfile.mkdtemp(prefix="causeway-guests-")
        self.doorbells = None
        self.guest = {i: Guest(self, i) for i in (1, 2)}

    def __getitem__(self, i):
        return self.guest[i]

    def make_image(self):
        """One for all: the kernel's command line says which node a guest is."""
        lists = {"modules": " ".join(MODULES), "limit": str(BOOT - 20)}
        for name, content in lists.items():
            with open(f"{self.place}/{name}", "w", encoding="utf-8") as file:
                file.write(content)
        files = [f"{HERE}/guest.sh /test", f"{self.place}/modules /modules", f"{self.place}/limit /limit", f"{BUILD}/kmod/causeway.ko /modules.d/causeway.ko"]
        files += [f"{BUILD}/guest/modules/{name}.ko /modules.d/{name}.ko" for name in MODULES[:-1]]
        files += [f"{BUILD}/{name} /causeway/{name}" for name in ("causeway", "causewayd", "libcauseway.so")]
        files += [f"{BUILD}/tests/cluster-vm/talk /tests/talk", f"{BUILD}/tests/cluster-vm/nonsense /tests/nonsense"]
        files += [shutil.which(name) for name in PROGRAMS if shutil.which(name)] + self.also
        with open(f"{self.place}/list", "w", encoding="utf-8") as file:
            file.write("\n".join(files) + "\n")
        made = run([f"{TESTS}/guest/image", f"{self.place}/image", f"{self.place}/list"], LIMIT)
        expect(made.returncode == 0, f"the image: {made.stderr}")

    def __enter__(self):
        try:
            self.doorbells = subprocess.Popen([sys.executable, f"{TESTS}/kmod/doorbells", f"{self.place}/doorbells", str(WINDOW), str(VECTORS)])
            await_(lambda: os.path.exists(f"{self.place}/doorbells"), "the doorbells")
            self.make_image()
            for i in self.guest:
                self.guest[i].boot()
            for i in self.guest:
                self.guest[i].await_ready()
            self.join()
        except BaseException:
            self.__exit__(1)
            raise
        return self

    def join(self):
        for i, guest in self.guest.items():
            guest.serve()
        self[1].must(f"causeway cluster init --name node1 --address {address(1)}")
        self.join_to_first(2)

    def join_to_first(self, i):
        invitation = json.loads(self[1].must("causeway cluster invite --json"))["invitation"]
        # On a busy host the two guests may not speak to each other in the time that strangers have for it.
        await_(lambda: self[i].do(f"causeway cluster join {address(1)} {invitation} --name node{i} --address {address(i)}")[0] == 0, f"node {i} joins")
        self.await_up()

    def add(self, i):
        """One more node."""
        self.guest[i] = Guest(self, i)
        self[i].boot()
        self[i].await_ready()
        self[i].serve()
        self.join_to_first(i)

    def lose(self, i):
        """A node's machine is gone without a word, for ever."""
        self.guest.pop(i).kill()

    def await_up(self):
        for guest in self.guest.values():
            await_(lambda: sum(node["state"] == "up" for node in guest.ask("nodes")["nodes"]) == len(self.guest), f"node {guest.i} sees all up")

    def end(self):
        """Each guest by itself; what its machine and its kernel say of it."""
        said = {}
        for i, guest in self.guest.items():
            if guest.process.poll() is None:
                guest.line.sendall(b"the end\n")
        for i, guest in self.guest.items():
            said[i] = guest.process.wait(LIMIT)
        return said

    def log(self, i):
        with open(self.guest[i].path("log"), errors="replace", encoding="utf-8") as file:
            return file.read()

    def __exit__(self, failed, *_):
        kept = os.environ.get("KEEP")
        for i, guest in self.guest.items():
            if failed and guest.process and guest.process.poll() is None:
                try:
                    guest.line.settimeout(20)
                    print(f"--- the service of node {i}:\n{guest.do('cat /var/log/causewayd; causeway status', 20)[1]}", flush=True)
                except (AssertionError, OSError):
                    pass
            if guest.process and guest.process.poll() is None:
                guest.kill()
            if failed and os.path.exists(guest.path("log")):
                print(f"--- node {i} on its console:\n{self.log(i)[-4000:]}", flush=True)
            if kept and os.path.exists(guest.path("log")):
                os.makedirs(kept, exist_ok=True)
                shutil.copy(guest.path("log"), kept)
        if self.doorbells:
            self.doorbells.kill()
            self.doorbells.wait()
        shutil.rmtree(self.place, ignore_errors=True)
