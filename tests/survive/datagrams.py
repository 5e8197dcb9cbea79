#!/usr/bin/env python3
"""serve PORT: answer datagrams until killed. talk PORT SECONDS FILE: ask for so long, note in FILE how many were answered, tell what happened."""
import socket, sys, time


def serve(port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("127.0.0.1", port))
    print(s.getsockname()[1], flush=True)
    while True:
        data, name = s.recvfrom(2000)
        s.sendto(data, name)


def talk(port, seconds, note):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect(("127.0.0.1", port))
    s.settimeout(0.5)
    answered = lost = refused = wrong = number = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        number += 1
        try:
            s.send(number.to_bytes(8, "big") * (1 + number % 90))
            answer = s.recv(2000)
        except TimeoutError:
            lost += 1
            continue
        except ConnectionRefusedError:
            refused += 1
            time.sleep(0.005)
            continue
        answered += 1
        wrong += answer != number.to_bytes(8, "big") * (1 + number % 90)
        if answered % 100 == 0:
            with open(note, "w") as f:
                f.write(str(answered))
    print(f"answered {answered} lost {lost} refused {refused} wrong {wrong}", flush=True)


if sys.argv[1] == "serve":
    serve(int(sys.argv[2]))
else:
    talk(int(sys.argv[2]), float(sys.argv[3]), sys.argv[4])
