"""gunicorn's threaded worker, without gunicorn's arbiter.

ciliate-agent is the arbiter: it holds the sockets and starts the worker again, and a second one would cost 20 MB.
Each socket has threads and connections of its own, so that whoever may only read can neither keep Docker waiting nor
root, be it by slowness or by numbers."""

from __future__ import annotations

import json
import os
import socket
import struct
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger
from gunicorn.http.errors import (
    ExpectationFailed,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
    UnsupportedTransferCoding,
)
from gunicorn.workers.gthread import TConn, ThreadWorker

Wsgi = Callable[..., Any]

DOCKER, ROOT, READERS = (12, 512), (8, 128), (4, 64)
"""Threads and connections of the plugin socket, the API socket and the read-only one."""

STALLED_SECONDS = 10
"""How long a thread waits for the rest of a request, or for who does not take its answer."""

GRACE_SECONDS = 1
"""What a stopping worker gives to requests that it has begun."""

_STOP_TICK = 0.1

_STATUSES = {
    ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
    LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    UnsupportedTransferCoding: HTTPStatus.NOT_IMPLEMENTED,
}


@dataclass(frozen=True, slots=True)
class Door:
    """A listening unix socket; how many requests on it are served at a time, and how many connections there may be."""

    listener: socket.socket
    threads: int
    connections: int
    pool: ThreadPoolExecutor = field(init=False)
    open: weakref.WeakSet[Any] = field(default_factory=weakref.WeakSet)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pool", ThreadPoolExecutor(self.threads, thread_name_prefix="http"))

    @property
    def is_full(self) -> bool:
        living = sum(connection.sock.fileno() >= 0 for connection in self.open)
        return bool(living >= self.connections)


class _Pools:
    """What gunicorn takes for its one pool of threads."""

    def __init__(self, doors: dict[str, Door]) -> None:
        self._doors = doors

    def submit(self, handle: Callable[[Any], Any], connection: Any) -> Future[Any]:
        door = self._doors[connection.server]
        door.open.add(connection)
        return door.pool.submit(handle, connection)

    def shutdown(self, wait: bool) -> None:
        for door in self._doors.values():
            door.pool.shutdown(wait=wait)


class _Application(BaseApplication):  # type: ignore[misc]
    def __init__(self, wsgi: Wsgi, temporary: Path) -> None:
        self._wsgi = wsgi
        self._temporary = temporary
        super().__init__()

    def load_config(self) -> None:
        # dockerd keeps its connection; opening a new one costs more than a call.
        self.cfg.set("keepalive", 60)
        self.cfg.set("graceful_timeout", GRACE_SECONDS)
        self.cfg.set("worker_tmp_dir", str(self._temporary))

    def load(self) -> Wsgi:
        return self._wsgi


class Worker(ThreadWorker):  # type: ignore[misc]
    """`stopping` is called when the worker begins to stop: who waits for something in a request shall give up."""

    def __init__(
        self, wsgi: Wsgi, doors: Sequence[Door], temporary: Path, stopping: Callable[[], None]
    ) -> None:
        self._doors = {door.listener.getsockname(): door for door in doors}
        self._stopping = stopping
        application = _Application(wsgi, temporary)
        config = application.cfg
        listeners = [door.listener for door in doors]
        super().__init__(1, os.getppid(), listeners, application, config.timeout, config, Logger(config))
        self.worker_connections = sum(door.connections for door in doors) + len(doors)
        self.max_keepalived = self.worker_connections
        self.pid = os.getpid()

    def get_thread_pool(self) -> _Pools:
        return _Pools(self._doors)

    def accept(self, listener: socket.socket) -> None:
        door = self._doors[listener.getsockname()]
        if door.is_full:
            listener.accept()[0].close()
            return
        super().accept(listener)

    def enqueue_req(self, conn: TConn) -> None:
        if not conn.initialized:
            limit = struct.pack("ll", STALLED_SECONDS, 0)
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        super().enqueue_req(conn)

    def handle_error(self, req: object, client: socket.socket, addr: object, exc: Exception) -> None:
        """Of what is no HTTP, or no application has seen: the same form of error as everywhere."""
        if isinstance(exc, ParseException):
            status = _STATUSES.get(type(exc), HTTPStatus.BAD_REQUEST)
            error = " ".join(str(exc).split()) or status.phrase
        else:
            self.log.exception("request failed")
            status, error = HTTPStatus.INTERNAL_SERVER_ERROR, f"internal error: {type(exc).__name__}"
        body = json.dumps(
            {"error": error, "path": "", "hint": "see /v1/openapi.json for what there is"}
        ).encode()
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        with suppress(OSError):
            client.sendall(head.encode() + body)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        super().wait_for_and_dispatch_events(timeout if self.alive else min(timeout, _STOP_TICK))

    def _cap_keepalive(self, deadline: float) -> None:
        """gunicorn calls this when it has stopped to accept. Who has sent nothing yet is not waited for."""
        self._stopping()
        now = time.monotonic()
        super()._cap_keepalive(now)
        for connection in self.pending_conns:
            connection.timeout = now


def serve(wsgi: Wsgi, doors: Sequence[Door], temporary: Path, stopping: Callable[[], None]) -> None:
    """Until a signal ends the worker or the supervisor is gone. `temporary`: where a file may be made that nobody
    sees."""
    Worker(wsgi, doors, temporary, stopping).init_process()
