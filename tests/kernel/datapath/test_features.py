"""What the kernel can do, asked of the one that runs the tests."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from datapath.features import probe
from tests.conftest import require


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_what_every_kernel_of_that_age_has() -> None:
    require(os.geteuid() == 0, "root, to load programs")
    release = tuple(int(part) for part in platform.release().split(".")[:2])
    features = probe()
    assert features.ringbuf
    if release >= (5, 15):
        assert features.coarse_clock
        assert features.redirect_peer
        assert features.batch_of_maps
    if release >= (6, 6):
        assert features.tcx


def test_asking_leaves_nothing_open() -> None:
    require(os.geteuid() == 0, "root, to load programs")
    before = open_files()
    probe()
    assert open_files() == before
