"""`ciliate cleanup`: takes every trace of ciliate off the host.

Runs as a process of its own and with the agent stopped, so that it works when nothing else does. It refuses while
containers hang on it, unless forced. It holds the supervisor's lock from then on, so that nobody starts the agent
again in between; and all it does can be repeated."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from agent.settings import Settings, from_environment
from agent.supervise import STOP_SECONDS, only_one
from datapath.cleanup import remove_pins
from driver.accept import Acceptance
from driver.cleanup import remove_all
from driver.links import Links
from driver.sysctls import Sysctls
from model.endpoint import Endpoint
from model.errors import CiliateError, Conflict, Unavailable
from store.local import LocalStore
from store.sqlite import SqliteStore


def main(*, force: bool) -> int:
    """The process's exit status."""
    try:
        print(clean(from_environment(), force=force))
    except (CiliateError, OSError) as error:
        print(f"error: {getattr(error, 'message', error)}", file=sys.stderr)
        if hint := getattr(error, "hint", ""):
            print(f"hint: {hint}", file=sys.stderr)
        return 1
    return 0


def clean(settings: Settings, *, force: bool) -> str:
    """What was removed, for people. Raises Conflict while endpoints are in use and `force` is not given, Unavailable
    if something cannot be removed; a repetition goes on where this one ended."""
    links = Links()
    if not force:
        _refuse_if_used(settings, links)
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    _stop_agent(settings)
    with only_one(settings):
        if not force:
            _refuse_if_used(settings, links)  # one more may have come before the agent ended
        with _records(settings) as records:
            living = _in_use(records, links)
            sysctls = Sysctls(records.sysctls if records else dict, _remember_nothing)
            remove_all(links, Acceptance(), sysctls)
        pins = remove_pins(settings.bpf_root)
        settings.plugin_socket.unlink(missing_ok=True)
        with suppress(OSError):  # if nothing of anybody else is in them
            settings.plugin_dir.rmdir()
            settings.plugin_dir.parent.rmdir()
        for directory in (settings.state_dir, settings.run_dir):
            shutil.rmtree(directory, ignore_errors=True)
    return f"removed: {len(living)} endpoints' links, {pins} pins, the nftables table, {settings.state_dir}"


@contextmanager
def _records(settings: Settings) -> Iterator[LocalStore | None]:
    """None: there are none, or they cannot be read, which is one reason to clean up."""
    database = settings.state_dir / "node.db"
    if not database.exists():
        yield None
        return
    try:
        store = SqliteStore(database)
    except CiliateError as error:
        print(f"going on without records: {error}", file=sys.stderr)
        yield None
        return
    try:
        yield LocalStore(store)
    finally:
        store.close()


def _in_use(records: LocalStore | None, links: Links) -> list[Endpoint]:
    present = links.present()
    found = records.endpoints().values() if records else ()
    return [endpoint for endpoint in found if endpoint.ifindex and endpoint.ifname in present]


def _refuse_if_used(settings: Settings, links: Links) -> None:
    with _records(settings) as records:
        living = _in_use(records, links)
    if living:
        names = sorted(
            {found.container_name or found.container_id[:12] or found.docker_id[:12] for found in living}
        )
        raise Conflict(
            f"{len(living)} endpoints are in use, by {', '.join(names)}",
            hint=f"`docker rm -f {' '.join(names)}` and `docker network rm` their networks, or take their links "
            "away with `ciliate cleanup --force`",
        )


def _stop_agent(settings: Settings) -> None:
    """The supervisor, which ends its children; if one runs at all, which its lock tells and not the file of its pid,
    whose number may be another's by now."""
    deadline = time.monotonic() + STOP_SECONDS + 2.0
    told = False
    while _runs(settings):
        if time.monotonic() > deadline:
            raise Unavailable("the agent does not end", hint="see its log; stop it, then repeat this")
        if not told:
            with suppress(OSError, ValueError):
                _end(int((settings.run_dir / "supervisor.pid").read_text()))
                told = True
        time.sleep(0.05)


def _end(pid: int) -> None:
    """systemd would start again what only a signal has ended."""
    unit = _unit_of(pid)
    if unit:
        subprocess.run(["systemctl", "stop", unit], check=False)
    else:
        os.kill(pid, signal.SIGTERM)


def _unit_of(pid: int) -> str:
    """The service whose main process this is; empty if there is none."""
    if not Path("/run/systemd/system").is_dir():
        return ""
    unit = Path(f"/proc/{pid}/cgroup").read_text().rstrip().rpartition("/")[2]
    if not unit.endswith(".service"):
        return ""
    asked = subprocess.run(
        ["systemctl", "show", "--property=MainPID", "--value", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    return unit if asked.stdout.strip() == str(pid) else ""


def _runs(settings: Settings) -> bool:
    """Also a worker that a killed supervisor has left behind, and that is about to end."""
    return any(_is_locked(settings.run_dir / name) for name in ("supervisor.lock", "agent.lock"))


def _is_locked(path: Path) -> bool:
    try:
        with path.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _remember_nothing(_path: str, _value: str) -> None:
    """Nothing is saved while everything is being removed."""
