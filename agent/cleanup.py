"""`ciliate cleanup`: takes every trace of ciliate off the host.

Runs as a process of its own and with the agent stopped, so that it works when nothing else does. It refuses while
containers hang on it, unless forced."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path

from agent.settings import Settings, from_environment
from agent.supervise import PATIENCE
from datapath.cleanup import remove_pins
from driver.accept import Acceptance
from driver.cleanup import remove_all
from driver.links import Links
from driver.sysctls import Sysctls
from model.endpoint import Endpoint
from model.errors import CiliateError
from store.local import LocalStore
from store.sqlite import SqliteStore


def main(*, force: bool) -> int:
    """The process's exit status."""
    try:
        settings = from_environment()
        return clean(settings, force=force)
    except CiliateError as error:
        print(error, file=sys.stderr)
        return 1


def clean(settings: Settings, *, force: bool) -> int:
    links = Links()
    database = settings.state_dir / "node.db"
    store = SqliteStore(database) if database.exists() else None
    try:
        records = LocalStore(store) if store is not None else None
        living = [found for found in records.endpoints().values() if found.ifindex] if records else []
        living = [found for found in living if found.ifname in links.present()]
        if living and not force:
            _refuse(living)
            return 1
        _stop_agent(settings)
        sysctls = Sysctls(records.sysctls if records else dict, _remember_nothing)
        remove_all(links, Acceptance(), sysctls)
    finally:
        if store is not None:
            store.close()
    pins = remove_pins(settings.bpf_root)
    for directory in (settings.run_dir, settings.state_dir):
        shutil.rmtree(directory, ignore_errors=True)
    print(f"removed: {len(living)} endpoints' links, {pins} pins, the nftables table, {settings.state_dir}")
    return 0


def _refuse(living: list[Endpoint]) -> None:
    names = sorted(
        {found.container_name or found.container_id[:12] or found.docker_id[:12] for found in living}
    )
    print(f"{len(living)} endpoints are in use, by {', '.join(names)}", file=sys.stderr)
    print(
        f"hint: `docker rm -f {' '.join(names)}` and `docker network rm` their networks, or take their links away "
        "with `ciliate cleanup --force`",
        file=sys.stderr,
    )


def _stop_agent(settings: Settings) -> None:
    """The supervisor, by the pid it wrote, and with it the others."""
    try:
        pid = int((settings.run_dir / "supervisor.pid").read_text())
        os.kill(pid, signal.SIGTERM)
    except (OSError, ValueError):
        return
    deadline = time.monotonic() + PATIENCE * 2
    while time.monotonic() < deadline and Path(f"/proc/{pid}").exists():
        time.sleep(0.05)


def _remember_nothing(_path: str, _value: str) -> None:
    """Nothing is saved while everything is being removed."""
