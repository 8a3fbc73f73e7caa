"""Which servers the engine's DNS asks in a container's place, as far as files tell.

The first of these that names any: the container (`docker run --dns`), the engine (`dockerd --dns`, or "dns" in its
configuration), the host. Those of the host are asked from the host's own network if they are loopback addresses; those
of the other two always from the container's. (libnetwork: setExternalResolvers)"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

Read = Callable[[Path], str]
"""A file's text, "" for one that is not there."""

_RESOLV_CONF = Path("/etc/resolv.conf")
_RESOLVED_CONF = Path("/run/systemd/resolve/resolv.conf")
_NAMESERVER = re.compile(r"^\s*nameserver\s+(\S+)", re.MULTILINE)

_ENGINE_PID = Path("/run/docker.pid")
_ENGINE_CONFIGURATION = Path("/etc/docker/daemon.json")


def of_host(read: Read) -> tuple[str, ...]:
    """As Docker takes them: where systemd-resolved listens on 127.0.0.53 it reads the servers behind it."""
    servers = _NAMESERVER.findall(read(_RESOLV_CONF))
    if servers == ["127.0.0.53"]:
        servers = _NAMESERVER.findall(read(_RESOLVED_CONF)) or servers
    return tuple(servers)


def of_engine(read: Read) -> tuple[str, ...]:
    """What the engine was told, empty for nothing. It reads its configuration when it starts."""
    pid = read(_ENGINE_PID).strip()
    arguments = read(Path(f"/proc/{pid}/cmdline")).split("\0") if pid.isdecimal() else []
    files = _values(arguments, "--config-file")
    configuration = Path(files[-1]) if files else _ENGINE_CONFIGURATION
    return tuple(_values(arguments, "--dns")) or _listed(read(configuration), "dns")


def of_container(read: Read, root: Path, container: str) -> tuple[str, ...]:
    """What the container was told. `root`: the engine's data root."""
    return _listed(read(root / "containers" / container / "hostconfig.json"), "Dns")


def _values(arguments: list[str], option: str) -> list[str]:
    """Of an option, written `--option value` or `--option=value`."""
    apart = [value for name, value in pairwise(arguments) if name == option]
    joined = [text.partition("=")[2] for text in arguments if text.startswith(f"{option}=")]
    return [*apart, *joined]


def _listed(text: str, key: str) -> tuple[str, ...]:
    try:
        servers = json.loads(text)[key]
    except (ValueError, KeyError, TypeError):
        return ()
    return tuple(map(str, servers)) if isinstance(servers, list) else ()
