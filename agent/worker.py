"""The process that owns the state: one worker and no more, which a lock file asserts. `agent.pid` names it.

It first starts the datapath's loader and only then imports what it is made of."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
from typing import Any

from agent.loading import start_loader
from agent.settings import Settings, from_environment


def claim(settings: Settings) -> Any:
    """The lock that makes this process the only owner of the state. Kept open until the process ends."""
    lock = (settings.run_dir / "agent.lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)  # a dying predecessor frees it within moments
    (settings.run_dir / "agent.pid").write_text(f"{os.getpid()}\n")
    return lock


def main() -> None:
    settings = from_environment()
    lock = claim(settings)
    loading = start_loader(settings)
    # Only now: while the loader works.
    import agent.lean  # noqa: F401
    from agent.logs import configure
    from agent.serving import serve
    from agent.wiring import build

    configure(settings.log_level, settings.log_format)
    sys.setswitchinterval(0.0005)  # a container's start must not wait 5 ms for each turn of a policy resolve
    listeners = [socket.socket(fileno=int(number)) for number in sys.argv[1:4]]
    system = build(settings, loading)
    try:
        serve(system.wsgi, listeners)
    finally:
        system.close()
        (settings.run_dir / "agent.pid").unlink(missing_ok=True)
        lock.close()


if __name__ == "__main__":
    main()
