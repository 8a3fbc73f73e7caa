"""A server that says who is asking, and its client. Standard library only: it runs with the system's Python
in containers, on the host and in the world.

speaker.py serve PORT...                      on TCP and UDP, IPv4 and IPv6; answers "NAME ADDRESS", the asker's
speaker.py ask tcp|udp ADDRESS PORT SECONDS   prints the answer; status 1 if none came
speaker.py hold ADDRESS PORT [SECONDS]        keeps one TCP connection, asks 20 times a second, prints a line for
                                              each answer and ends when one does not come within 1 s, or SECONDS
speaker.py knock ADDRESS PORT                 asks over UDP ten times a second, each time anew; prints a line for each,
                                              with the answer or with nothing if none came within 0.5 s
speaker.py pulse ADDRESS PORT                 asks over UDP 200 times a second, waits for nothing, and prints the time
                                              (of day) at which each answer comes
speaker.py resolve NAME                       prints each of its addresses; status 1 if it has none
speaker.py record PORT                        prints each UDP payload that comes"""

from __future__ import annotations

import contextlib
import selectors
import socket
import sys
import time

IP_PKTINFO = 8
"""Of linux/in.h; Python 3.11 has no name for it."""


def serve(ports: list[int]) -> None:
    name = socket.gethostname()
    selector = selectors.DefaultSelector()
    for port in ports:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            for family, anywhere in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
                server = socket.socket(family, kind)
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
                else:
                    server.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
                server.bind((anywhere, port))
                if kind == socket.SOCK_STREAM:
                    server.listen(128)
                selector.register(server, selectors.EVENT_READ, kind)
    while True:
        for key, _ in selector.select():
            ready = key.fileobj
            assert isinstance(ready, socket.socket)
            if key.data == socket.SOCK_STREAM:
                connection, peer = ready.accept()
                selector.register(connection, selectors.EVENT_READ, peer)
            elif key.data == socket.SOCK_DGRAM:
                reflect(ready, name)
            else:
                answer(selector, ready, f"{name} {key.data[0]}\n")


def reflect(server: socket.socket, name: str) -> None:
    """From the address that was asked, which need not be the one that routing would choose."""
    _, ancillary, _, peer = server.recvmsg(65535, 256)
    (level, kind, asked), *_ = ancillary
    # Its address alone: routing chooses the interface.
    source = asked[:16] + bytes(4) if level == socket.IPPROTO_IPV6 else bytes(4) + asked[4:]
    server.sendmsg([f"{name} {peer[0]}\n".encode()], [(level, kind, source)], 0, peer)


def answer(selector: selectors.BaseSelector, connection: socket.socket, text: str) -> None:
    try:
        if connection.recv(65535):
            connection.sendall(text.encode())
            return
    except OSError:
        pass
    selector.unregister(connection)
    connection.close()


def connect(protocol: str, address: str, port: int, seconds: float) -> socket.socket:
    family, kind = (
        socket.AF_INET6 if ":" in address else socket.AF_INET,
        socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM,
    )
    client = socket.socket(family, kind)
    client.settimeout(seconds)
    client.connect((address, port))
    return client


def ask(protocol: str, address: str, port: int, seconds: float) -> int:
    try:
        with connect(protocol, address, port, seconds) as client:
            client.sendall(b"who am I?\n")
            print(client.recv(1500).decode().strip())
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def hold(address: str, port: int, seconds: float = 1.0) -> int:
    with connect("tcp", address, port, seconds) as client:
        while True:
            client.sendall(b"who am I?\n")
            try:
                text = client.recv(1500)
            except TimeoutError:
                text = b""
            if not text:
                return 1
            print(f"{time.monotonic():.3f} {text.decode().strip()}", flush=True)
            time.sleep(0.05)


def large(address: str, port: int) -> int:
    with connect("udp", address, port, 2.0) as client:
        client.sendall(bytes(1500))
        client.recv(1500)
    with connect("tcp", address, port, 5.0) as client:
        client.sendall(bytes(1_000_000))
        client.shutdown(socket.SHUT_WR)
        while client.recv(65535):  # ends once the server has read the last byte
            pass
    return 0


def knock(address: str, port: int) -> None:
    while True:
        try:
            with connect("udp", address, port, 0.5) as client:
                client.sendall(b"who am I?\n")
                text = client.recv(1500).decode().strip()
        except OSError:
            text = ""
        print(f"{time.monotonic():.3f} {text}", flush=True)
        time.sleep(0.1)


def pulse(address: str, port: int) -> None:
    with connect("udp", address, port, 0.005) as client:
        due = time.monotonic()
        while True:
            with contextlib.suppress(OSError):  # what an earlier one met, told now
                client.send(b"?")
            due += 0.005
            while (left := due - time.monotonic()) > 0:
                client.settimeout(left)
                try:
                    client.recv(1500)
                except OSError:
                    continue
                print(f"{time.time():.4f}", flush=True)


def record(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        server.bind(("0.0.0.0", port))
        while True:
            print(server.recv(1500).decode().strip(), flush=True)


def resolve(name: str) -> int:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except socket.gaierror:
        return 1
    print(*sorted({str(address[0]) for *_, address in found}), sep="\n")
    return 0


def main() -> int:
    match sys.argv[1:]:
        case ["serve", *ports]:
            serve([int(port) for port in ports])
        case ["ask", protocol, address, port, seconds]:
            return ask(protocol, address, int(port), float(seconds))
        case ["hold", address, port]:
            return hold(address, int(port))
        case ["hold", address, port, seconds]:
            return hold(address, int(port), float(seconds))
        case ["large", address, port]:
            return large(address, int(port))
        case ["knock", address, port]:
            knock(address, int(port))
        case ["pulse", address, port]:
            pulse(address, int(port))
        case ["resolve", name]:
            return resolve(name)
        case ["record", port]:
            record(int(port))
    return 2


if __name__ == "__main__":
    sys.exit(main())
