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
from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from agent.settings import Settings, from_environment
from agent.supervise import STOP_SECONDS, only_one
from datapath.cleanup import remove_pins
from driver.accept import Acceptance
from driver.cleanup import remove_all
from driver.containers import Containers
from driver.links import Links
from driver.sysctls import Sysctls
from model.endpoint import Endpoint
from model.errors import CiliateError, Conflict, Unavailable
from model.network import Network
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
            networks = records.networks() if records else {}
            sysctls = Sysctls(records.sysctls if records else dict, _remember_nothing)
            remove_all(links, Acceptance(), sysctls)
        pins = remove_pins(settings.bpf_root)
        settings.plugin_socket.unlink(missing_ok=True)
        with suppress(OSError):  # if nothing of anybody else is in them
            settings.plugin_dir.rmdir()
            settings.plugin_dir.parent.rmdir()
        for directory in (settings.state_dir, settings.run_dir):
            shutil.rmtree(directory, ignore_errors=True)
    removed = (
        f"removed: {len(living)} endpoints' links, {pins} pins, the nftables table, {settings.state_dir}"
    )
    return "\n".join([removed, *_stranded(settings, networks)])


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


def _stranded(settings: Settings, networks: Mapping[str, Network]) -> list[str]:
    """What Docker still has and nobody serves any more, and what to do about it. `networks` are the recorded ones; an
    engine that answers knows better which are left."""
    names = {number: network.name or number[:12] for number, network in networks.items()}
    containers: list[str] = []
    engine = Containers(settings.docker_host, None, lambda _root: None)
    with suppress(CiliateError):
        listed = engine.networks()
        names = {number: str(listed[number]["Name"]) for number in names if number in listed}
        containers = sorted(attached_to(engine.all(), names))
    if not names:
        return []
    left = f"Docker still has {_count(names.values(), 'network')} of ciliate"
    remove = f"`docker network rm {' '.join(sorted(names.values()))}`"
    if containers:
        left += f", and on them {_count(containers, 'container')}, which cannot start again without ciliate"
        remove = f"`docker rm -f {' '.join(containers)}` and {remove}"
    return [f"{left}: {remove}, or install it again"]


def attached_to(containers: Iterable[Mapping[str, Any]], networks: Container[str]) -> Iterator[str]:
    """The names of those that have one of these networks, by its id. `containers`: the engine's list. PURE."""
    for container in containers:
        attached = ((container.get("NetworkSettings") or {}).get("Networks") or {}).values()
        if any(member.get("NetworkID") in networks for member in attached):
            yield next(iter(container.get("Names") or [container["Id"][:12]])).removeprefix("/")


def _count(names: Collection[str], what: str) -> str:
    return f"the {what}{'' if len(names) == 1 else 's'} {', '.join(sorted(names))}"


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
