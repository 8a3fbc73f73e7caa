"""What every test may ask for. A need that is not met skips here and fails where REQUIRE_ALL=1 is set (CI)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


def require(condition: bool, reason: str) -> None:
    """Go on only where `condition` holds."""
    if condition:
        return
    if os.environ.get("REQUIRE_ALL") == "1":
        pytest.fail(f"required here: {reason}")
    pytest.skip(reason)


@pytest.fixture
def bpf_root(tmp_path: Path) -> Iterator[Path]:
    """A BPF file system of the test's own, gone afterwards with all that was pinned in it."""
    from datapath.pins import mount_bpffs, unmount

    require(os.geteuid() == 0, "root, to make BPF maps and programs")
    root = tmp_path / "bpf"
    mount_bpffs(root)
    try:
        yield root
    finally:
        unmount(root)
