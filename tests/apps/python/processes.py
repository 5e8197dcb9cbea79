"""multiprocessing over TCP: a manager's objects, queues between processes, connections with time-outs, waiting for many."""

import multiprocessing
import multiprocessing.connection
import threading
from multiprocessing.managers import BaseManager
from queue import Queue

import ends

KEY = b"not a secret"


class Manager(BaseManager):
    pass


def connected_manager(port):
    Manager.register("work")
    Manager.register("done")
    manager = Manager((ends.HOST, port), KEY)
    manager.connect()
    return manager


def worker(port, number):
    """Takes work from the manager's queue until there is none."""
    manager = connected_manager(port)
    work, done = manager.work(), manager.done()
    while (job := work.get()) is not None:
        done.put((job, ends.digest(ends.content(job, job * 1000))))


def answer(listener):
    while True:
        with listener.accept() as connection:
            try:
                while True:
                    connection.send(connection.recv()[::-1])
            except EOFError:
                pass


def server(port):
    work, done = Queue(), Queue()
    Manager.register("work", lambda: work)
    Manager.register("done", lambda: done)
    listener = multiprocessing.connection.Listener((ends.HOST, port + 1), authkey=KEY)
    threading.Thread(target=answer, args=(listener,), daemon=True).start()
    Manager((ends.HOST, port), KEY).get_server().serve_forever()


def by_manager(port):
    manager = connected_manager(port)
    workers = [multiprocessing.Process(target=worker, args=(port, n)) for n in range(3)]
    for w in workers:
        w.start()
    work, done = manager.work(), manager.done()
    for job in range(30):
        work.put(job)
    results = sorted(done.get() for _ in range(30))
    for w in workers:
        work.put(None)
    for w in workers:
        w.join(30)
        print("worker ended with", w.exitcode)
    print(*results, sep="\n")


def by_connection(port):
    for start in range(3):
        with multiprocessing.connection.Client((ends.HOST, port + 1), authkey=KEY) as connection:
            print("nothing yet:", connection.poll(0.05))
            for size in ends.SIZES:
                data = ends.content(size, size)
                connection.send(data)
                if not multiprocessing.connection.wait([connection], 30):
                    raise TimeoutError
                print(size, connection.recv() == data[::-1])
            connection.send([{"a": n, "b": str(n)} for n in range(1000)])
            print(connection.recv()[:3])


def client(port):
    for context in ("fork", "spawn"):
        multiprocessing.set_start_method(context, force=True)
        by_manager(port)
    by_connection(port)


if __name__ == "__main__":
    ends.main(server, client)
