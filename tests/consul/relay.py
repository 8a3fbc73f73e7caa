"""A relay in front of Consul that can swallow answers: the request is carried out, and its answer never comes."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass, field


@dataclass
class Relay:
    """`swallow`: how many answers to writes that contain `only` are still to be swallowed."""

    host: str
    port: int
    swallow: int = 0
    only: bytes = b"/v1/txn"
    own: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    def __post_init__(self) -> None:
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.own.getsockname()
        return host, port

    def close(self) -> None:
        self.own.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self.own.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        """One request and its answer after the other; both are small here."""
        with near, socket.create_connection((self.host, self.port)) as far:
            while request := _message(near):
                far.sendall(request)
                answer = _message(far)
                if self.swallow and request.startswith(b"PUT") and self.only in request:
                    self.swallow -= 1
                    return
                near.sendall(answer)


def _message(source: socket.socket) -> bytes:
    """A whole HTTP message with a length; empty: the end."""
    text = b""
    while b"\r\n\r\n" not in text:
        part = source.recv(65536)
        if not part:
            return b""
        text += part
    head, _, body = text.partition(b"\r\n\r\n")
    while b"transfer-encoding: chunked" in head.lower() and not body.endswith(b"0\r\n\r\n"):
        body += source.recv(65536)
    length = next(
        (
            int(line.split(b":")[1])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length:")
        ),
        0,
    )
    while len(body) < length:
        body += source.recv(65536)
    return head + b"\r\n\r\n" + body
