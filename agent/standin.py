"""Answers in place of a worker that cannot start, so that nobody hangs: dockerd has no time-out of its own, and at boot
would wait for the first container of a ciliate network with all others behind it."""

from __future__ import annotations

import json
import re
import socket
import time
from contextlib import suppress

REQUEST_SECONDS = 0.5
"""For all of a request. dockerd and the command send theirs at once."""

LARGEST_HEAD = 1 << 16
LARGEST_BODY = 1 << 24

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def refuse_next(listener: socket.socket, reason: str) -> None:
    """Take the connection that waits at `listener`, if any, and answer its request with `reason`: 503, in the forms of
    REST and of both plugin protocols at once."""
    listener.setblocking(False)
    try:
        connection, _ = listener.accept()
    except BlockingIOError:
        return
    finally:
        listener.setblocking(True)
    with connection, suppress(OSError):
        _read(connection)
        connection.sendall(_answer(reason))


def _read(connection: socket.socket) -> None:
    """The whole request: who is hung up on before that sees a reset instead of the answer."""
    deadline = time.monotonic() + REQUEST_SECONDS
    request = b""
    missing = 1
    while missing > 0:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        piece = connection.recv(1 << 16)
        if not piece:
            return
        request += piece
        head, end, body = request.partition(b"\r\n\r\n")
        if not end and len(head) > LARGEST_HEAD:
            return
        if end:
            length = _LENGTH.search(head)
            missing = min(int(length[1]) if length else 0, LARGEST_BODY) - len(body)


def _answer(reason: str) -> bytes:
    hint = "ciliate-agent goes on trying to start; its log says more"
    text = f"ciliate cannot start: {reason}"
    told = {"Err": text, "Error": text, "error": text, "path": "", "hint": hint}
    body = json.dumps(told).encode()
    head = (
        "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
