"""The process that owns the state: one gunicorn worker with threads.

gunicorn's worker is used without gunicorn's arbiter: ciliate-agent is the arbiter (it holds the sockets and
starts the worker again), and a second one would cost 20 MB. One worker and no more: the state lives in this
process, which a lock file asserts. `agent.pid` names this process."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.gthread import ThreadWorker

from agent.settings import Settings, from_environment

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


def claim(settings: Settings) -> Any:
    """The lock that makes this process the only owner of the state. Kept open until the process ends."""
    lock = (settings.run_dir / "agent.lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)  # a dying predecessor frees it within moments
    (settings.run_dir / "agent.pid").write_text(f"{os.getpid()}\n")
    return lock


def main() -> None:
    from agent.logs import configure
    from agent.wiring import build

    settings = from_environment()
    configure(settings.log_level, settings.log_format)
    sys.setswitchinterval(0.0005)  # a container's start must not wait 5 ms for each turn of a policy resolve
    lock = claim(settings)
    listeners = [socket.socket(fileno=int(number)) for number in sys.argv[1:4]]
    system = build(settings)
    try:
        serve(system.wsgi, listeners)
    finally:
        system.close()
        (settings.run_dir / "agent.pid").unlink(missing_ok=True)
        lock.close()


if __name__ == "__main__":
    main()
