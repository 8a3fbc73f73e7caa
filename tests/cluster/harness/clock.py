"""A time of day of a process's own, which can jump (clock.c)."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.cluster.harness.node import Node


def faked(node: Node) -> dict[str, str]:
    """The environment of such a process on that node."""
    library = node.sandbox.directory / "clock.so"
    source = Path(__file__).with_name("clock.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, source], check=True)
    return {"LD_PRELOAD": str(library)}


def set_clock(node: Node, seconds: int) -> None:
    """So many away from the right time."""
    node.path("/run/clock").write_text(f"{seconds}\n")
