"""A clock of a process's own, which can jump: libfaketime of this machine's release, unpacked into the cache.

Only the time of day jumps; the clocks that count from a start are what they are, as on any machine."""

from __future__ import annotations

import platform

from tests.cluster.harness.node import Node
from tests.docker.harness.engines import unpack

_FILE = "/run/clock"


def faked() -> dict[str, str]:
    """The environment of such a process."""
    release = platform.freedesktop_os_release()["VERSION_CODENAME"]
    (library,) = unpack("faketime", release, ("libfaketime",)).glob("usr/lib/*/faketime/libfaketime.so.1")
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": _FILE,
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


def set_clock(node: Node, seconds: int) -> None:
    """So many away from the right time."""
    node.path(_FILE).write_text(f"{seconds:+d}\n")
