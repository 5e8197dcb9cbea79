#!/usr/bin/env python3
"""Programs that show where one can notice Causeway (docs/caveats.md). noticed.py ROLE [ARGUMENTS]; a line on stdin lets each go on."""
import ctypes, errno, fcntl, os, signal, socket, struct, sys, termios, time, types

PING = b"x" * 100
KINDS = {"stream": socket.SOCK_STREAM, "seqpacket": socket.SOCK_SEQPACKET, "credentials": socket.SOCK_STREAM}


def say(*words):
    print(*words, flush=True)


def go_on():
    sys.stdin.readline()


def whole(s, count):
    got = b""
    while len(got) < count:
        part = s.recv(count - len(got))
        if not part:
            return got
        got += part
    return got


def answer(path, kind):
    """Answers each message until the end, or until killed. Another than PING is the last one that is read."""
    listener = socket.socket(socket.AF_UNIX, KINDS[kind])
    listener.bind(path)
    listener.listen()
    say("listening")
    s, _ = listener.accept()
    if kind == "credentials":
        s.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    while (got := whole(s, len(PING))) == PING:
        s.sendall(got)
    if got:
        s.sendall(b"!")
        go_on()


def asking(path, kind):
    """Connected, and moved if it is moved at all."""
    s = socket.socket(socket.AF_UNIX, KINDS[kind])
    s.connect(path)
    for _ in range(200):
        s.sendall(PING)
        whole(s, len(PING))
        time.sleep(0.0005)
    return s


def ask(path, kind):
    asking(path, kind).close()


def error_of(call, *arguments):
    try:
        return call(*arguments)
    except OSError as e:
        return errno.errorcode[e.errno]


def outlive(path):
    """Sends to a server that was killed."""
    s = asking(path, "stream")
    say("connected")
    go_on()
    sent, end = 0, time.monotonic() + 10
    while (result := error_of(s.send, PING)) == len(PING) and time.monotonic() < end:
        sent += 1
        time.sleep(0.001)
    say(sent, result, error_of(s.recv, 1))


def ask_on(s):
    """Without a pause, so that what comes next goes as the last of these; behind them nothing is read."""
    for _ in range(1000):
        s.sendall(PING)
        whole(s, len(PING))
    s.sendall(b"y" * len(PING))
    whole(s, 1)
    s.setblocking(False)


def fill(path):
    """Sends to a server that does not read: what SIOCOUTQ says of 1,000 bytes, and how many more messages there is room for."""
    s = asking(path, "stream")
    ask_on(s)
    sent = 0
    for _ in range(10):
        s.sendall(PING)
    queued = struct.unpack("i", fcntl.ioctl(s, termios.TIOCOUTQ, b"\0" * 4))[0]
    while error_of(s.send, PING) == len(PING):
        sent += 1
    say(queued, sent)


def fill_up(path):
    """The same without being asked."""
    s = asking(path, "stream")
    ask_on(s)
    sent = 0
    while error_of(s.send, PING) == len(PING):
        sent += 1
    say(sent)


def forking(count):
    """A server with a process for each connection; each takes 100 bytes, and ends in its way."""
    listener = socket.create_server(("127.0.0.1", 0))
    for i in range(int(count)):
        one = socket.create_connection(listener.getsockname())
        two, _ = listener.accept()
        one.sendall(PING)
        child = os.fork()
        if not child:
            for n in sorted(int(n) for n in os.listdir("/proc/self/fd")):
                if n > 300 and i % 2:
                    os.dup2(two.fileno(), n)  # the library's own, which goes elsewhere
                    os.close(n)
            os.closerange(two.fileno() + 1, 1 << 20)
            if i % 5 == 4 and os.fork():
                os.wait()
                os._exit(0)
            whole(two, len(PING))
            if i % 5 == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            if i % 5 == 2:
                os.execv("/bin/true", ["true"])
            if i % 5 == 3:
                two.close()
            os._exit(0)
        two.close()
        os.waitpid(child, 0)
        one.close()


def descriptors():
    """One is the library's own: high, closed by exec, and nobody closes it."""
    listener = socket.create_server(("127.0.0.1", 0))
    one = socket.create_connection(listener.getsockname())
    two, _ = listener.accept()
    known = {0, 1, 2, listener.fileno(), one.fileno(), two.fileno()}
    os.closerange(max(known) + 1, 1 << 20)

    def others():
        look = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY)
        numbers = {int(n) for n in os.listdir(look)}
        os.close(look)
        return sorted(n for n in numbers - known if n != look and os.path.exists(f"/proc/self/fd/{n}"))
    good = 0
    for _ in range(200):
        one.sendall(PING)
        good += whole(two, len(PING)) == PING
        two.sendall(PING)
        good += whole(one, len(PING)) == PING
        time.sleep(0.0005)
    found = others()
    os.closerange(max(known) + 1, 1 << 20)
    for n in found:
        error_of(os.close, n)
    one.sendall(PING)
    good += whole(two, len(PING)) == PING
    say(good, found == others(), *(f"{n}:{fcntl.fcntl(n, fcntl.F_GETFD)}" for n in others()))


def looked_up():
    """Two ends of one connection, by ctypes and, each second message, by calls that the interpreter is linked with."""
    libc = ctypes.CDLL("libc.so.6")
    listener = socket.create_server(("127.0.0.1", 0))
    one = libc.socket(socket.AF_INET, socket.SOCK_STREAM, 0)
    name = struct.pack("=HH4s8x", socket.AF_INET, socket.htons(listener.getsockname()[1]), socket.inet_aton("127.0.0.1"))
    connected = libc.connect(one, name, len(name)) == 0
    two = libc.accept(listener.fileno(), None, None)
    room = ctypes.create_string_buffer(len(PING))
    good = 0
    for i in range(200):
        message = b"%0*d" % (len(PING), i)
        for end, other in ((one, two), (two, one)):
            if i % 2:
                libc.send(end, message, len(message), 0)
                good += os.read(other, len(message)) == message
            else:
                os.write(end, message)
                good += libc.recv(other, room, len(message), socket.MSG_WAITALL) == len(message) and room.raw == message
        time.sleep(0.0005)
    say(good, connected)


def linked(library, way):
    """Each second message is sent and received by a library that is loaded meanwhile."""
    listener = socket.create_server(("127.0.0.1", 0))
    one = socket.create_connection(listener.getsockname())
    two, _ = listener.accept()
    if way == "deep":
        loaded = ctypes.CDLL(library, mode=os.RTLD_DEEPBIND | os.RTLD_LAZY)
    elif way == "deep by name":
        loaded = ctypes.CDLL(os.path.basename(library), mode=os.RTLD_DEEPBIND | os.RTLD_LAZY)
    else:
        linker = ctypes.CDLL(None)
        linker.dlmopen.restype = linker.dlsym.restype = ctypes.c_void_p
        handle = ctypes.c_void_p(linker.dlmopen(-1, library.encode(), os.RTLD_NOW))
        loaded = types.SimpleNamespace()
        for name in ("pass_by_link", "take_by_table"):
            setattr(loaded, name, ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_ulong)(linker.dlsym(handle, name.encode())))
    room = ctypes.create_string_buffer(len(PING))
    good = 0
    for i in range(200):
        message = b"%0*d" % (len(PING), i)
        for end, other in ((one, two), (two, one)):
            other.settimeout(2)
            if i % 2:
                loaded.pass_by_link(end.fileno(), message, len(message))
                good += whole(other, len(message)) == message
            else:
                end.sendall(message)
                got = b""
                while len(got) < len(message) and (count := loaded.take_by_table(other.fileno(), room, len(message) - len(got))) != 0:
                    if count < 0:
                        time.sleep(0.001)
                    got += room.raw[:max(count, 0)]
                good += got == message
        time.sleep(0.0005)
    say(good)


if __name__ == "__main__":
    {f.__name__: f for f in (answer, ask, outlive, fill, fill_up, descriptors, forking, looked_up, linked)}[sys.argv[1]](*sys.argv[2:])
