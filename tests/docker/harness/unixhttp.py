"""HTTP over a unix socket, with JSON both ways."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def request(path: Path, method: str, url: str, body: object = None, *, timeout: float = 10.0) -> Answer:
    """`body`: bytes as they are, anything else but None as JSON. Raises OSError where nobody answers."""
    headers, content = {}, b""
    if isinstance(body, bytes):
        content = body
    elif body is not None:
        content, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
    connection = _Connection(path, timeout)
    try:
        with contextlib.suppress(BrokenPipeError):  # who refuses a body need not read it, but answers
            connection.request(method, url, content, headers)
        response = connection.getresponse()
        return Answer(response.status, response.read().decode(errors="replace"))
    finally:
        connection.close()
