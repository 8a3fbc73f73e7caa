"""gunicorn's threaded worker, without gunicorn's arbiter.

ciliate-agent is the arbiter: it holds the sockets and starts the worker again, and a second one would cost 20 MB."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.gthread import ThreadWorker

THREADS = 24

Wsgi = Callable[..., Any]


class _Application(BaseApplication):  # type: ignore[misc]
    def __init__(self, wsgi: Wsgi) -> None:
        self._wsgi = wsgi
        super().__init__()

    def load_config(self) -> None:
        self.cfg.set("threads", THREADS)
        self.cfg.set("worker_class", "gthread")
        self.cfg.set(
            "keepalive", 60
        )  # dockerd keeps its connection; opening a new one costs more than a call
        self.cfg.set("graceful_timeout", 4)

    def load(self) -> Wsgi:
        return self._wsgi


def serve(wsgi: Wsgi, listeners: list[socket.socket]) -> None:
    """Until a signal ends the worker or the supervisor is gone."""
    application = _Application(wsgi)
    config: Config = application.cfg
    worker = ThreadWorker(1, os.getppid(), listeners, application, config.timeout, config, Logger(config))
    worker.pid = os.getpid()
    worker.init_process()
