"""How long the agent takes over each call of the engine: a relay on the plugin socket, in front of the agent's own.

Only what lies between the last byte of a request and the last byte of its answer counts, so the relay's own work does
not, and the product needs to know nothing of it."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import cast

from tests.docker.harness.host import Host

PLUGIN_SOCKET = "/run/docker/plugins/ciliate.sock"
BEHIND = "/run/behind"


@dataclass(frozen=True, slots=True)
class Call:
    """`path` as in "/NetworkDriver.Join"."""

    path: str
    seconds: float


class _Connection(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        server = cast("Relay", self.server)
        with socket.socket(socket.AF_UNIX) as upstream:
            upstream.connect(str(server.upstream))
            answers = upstream.makefile("rb")
            while request := read_message(self.rfile):
                began = time.perf_counter()
                upstream.sendall(request)
                answer = read_message(answers)
                took = time.perf_counter() - began
                server.calls.append(Call(request.split(b" ", 2)[1].decode(), took))
                self.wfile.write(answer)


class Relay(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """`calls`: what was asked since somebody last cleared it."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, path: Path, upstream: Path) -> None:
        super().__init__(str(path), _Connection)
        self.upstream = upstream
        self.calls: list[Call] = []


def read_message(stream: BufferedIOBase) -> bytes:
    """One HTTP message as it came, b"" at the end. Its body has a length, is in chunks, or is empty."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = stream.readline()
        if not line:
            return b""
        head += line
    pairs = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    fields = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if fields.get(b"transfer-encoding") == b"chunked":
        return head + _chunks(stream)
    return head + stream.read(int(fields.get(b"content-length", b"0")))


def _chunks(stream: BufferedIOBase) -> bytes:
    body = b""
    while True:
        size = stream.readline()
        content = stream.read(int(size, 16) + 2)
        body += size + content
        if content == b"\r\n":
            return body


@contextmanager
def relayed(host: Host) -> Iterator[Relay]:
    """The host's agent, which does not run yet, starts behind a relay."""
    host.agent.start({"CILIATE_PLUGIN_DIR": BEHIND})
    path = host.path(PLUGIN_SOCKET)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with Relay(path, host.path(f"{BEHIND}/{path.name}")) as relay:
        thread = threading.Thread(target=relay.serve_forever, daemon=True)
        thread.start()
        try:
            yield relay
        finally:
            relay.shutdown()
            thread.join()
