"""The process that owns the state: one worker and no more, which a lock file asserts. `agent.pid` names it once it
serves; why it cannot start is left in `worker.failure`.

It first starts the datapath's loader and only then imports what it is made of."""

from __future__ import annotations

import fcntl
import gc
import os
import socket
import sys
import threading
import traceback
from pathlib import Path
from typing import IO

from agent.loading import start_loader
from agent.settings import Settings, from_environment
from model.errors import CiliateError

CLOSING_SECONDS = 0.7
"""What is not closed by then ends with the process: everything may end at any instant."""


SWITCH_SECONDS = 0.0001
"""A thread's turn while others wait. A container's start takes a hundred of them, each of which would otherwise wait
5 ms while rules are being resolved."""

COLLECT = (10_000, 20, 50)
"""When to look for garbage in cycles (gc.set_threshold). There is little of it, and resolving a thousand rules makes so
many objects that looking for it would take as long as resolving, while nobody else gets a turn."""


def claim(settings: Settings) -> IO[str]:
    """The lock that makes this process the only owner of the state. Kept open until the process ends."""
    lock = (settings.run_dir / "agent.lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)  # a dying predecessor frees it within moments
    return lock


def main() -> None:
    """Arguments: the descriptors of the three listening sockets."""
    settings = from_environment()
    failure = settings.run_dir / "worker.failure"
    lock = claim(settings)
    try:
        serve_all(settings, lock, failure)
    except Exception as error:
        if not isinstance(error, CiliateError):
            traceback.print_exc()
        reason = str(error) or type(error).__name__
        failure.write_text(reason)
        sys.exit(f"ciliate-agent cannot start: {reason}")


def serve_all(settings: Settings, lock: IO[str], failure: Path) -> None:
    """Until a signal ends it, and then with the process. Raises what keeps it from starting."""
    loading = start_loader(settings)
    # Only now: while the loader works.
    import agent.lean  # noqa: F401
    from agent.logs import configure
    from agent.serving import DOCKER, READERS, ROOT, Door, serve
    from agent.wiring import build

    configure(settings.log_level, settings.log_format)
    sys.setswitchinterval(SWITCH_SECONDS)
    system = build(settings, loading)
    gc.freeze()
    gc.set_threshold(*COLLECT)
    doors = [
        Door(socket.socket(fileno=int(number)), threads, connections)
        for number, (threads, connections) in zip(sys.argv[1:4], (DOCKER, ROOT, READERS), strict=True)
    ]
    failure.unlink(missing_ok=True)
    (settings.run_dir / "agent.pid").write_text(f"{os.getpid()}\n")
    status = 0
    try:
        serve(system.wsgi, doors, settings.run_dir, system.hurry)
    except SystemExit:
        pass  # by a signal that does not wait
    except Exception:
        traceback.print_exc()
        status = 1
    in_time = threading.Timer(CLOSING_SECONDS, os._exit, (status,))
    in_time.daemon = True
    in_time.start()
    system.close()
    (settings.run_dir / "agent.pid").unlink(missing_ok=True)
    lock.close()
    # Not by returning: the interpreter would wait for every thread that is still reading from somebody.
    os._exit(status)


if __name__ == "__main__":
    main()
