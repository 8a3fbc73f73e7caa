"""Every build that a release ships is one that a kernel takes, on kernels that lack things too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from datapath import syscall
from datapath.attributes import ProgramType
from datapath.compile import PROGRAMS, SOURCES, Programs, cache_key, read_cached, relocate
from datapath.features import Features, every_build
from datapath.maps import MAPS
from datapath.pins import open_map
from tests.kernel.harness import CACHE, A, Action, B, Node
from tests.kernel.packets import ACK, SYN, tcp

BUILDS = list(every_build())


@pytest.fixture(scope="session")
def prebuilt() -> Path:
    loader = [sys.executable, "-m", "datapath.loader", "--prebuild", CACHE]
    subprocess.run(loader, check=True, stdout=subprocess.DEVNULL)
    return CACHE


def load(programs: Programs, root: Path) -> dict[str, int]:
    maps = {name: open_map(root, name) for name in MAPS}
    try:
        return {
            name: syscall.load_program(ProgramType.SCHED_CLS, relocate(code, maps), name=name)
            for name, code in programs.items()
        }
    finally:
        for fd in maps.values():
            os.close(fd)


@pytest.mark.parametrize("features", BUILDS, ids=[" ".join(features.flags()) for features in BUILDS])
def test_it_is_taken_and_does_its_work(
    node: Node, programs: Path, prebuilt: Path, features: Features
) -> None:
    built = read_cached(prebuilt, cache_key(SOURCES, features.flags()))
    assert built
    assert built.keys() == PROGRAMS.keys()
    loaded = load(built, programs)
    kept, node.programs = node.programs, loaded
    try:
        there = node.send(A, B.ipv4, tcp(4000, 80, SYN))
        back = node.send(B, A.ipv6, tcp(80, 4000, SYN))
        assert (there.action, back.action) == (Action.REDIRECT, Action.REDIRECT)
        # Where packets cannot go straight in, they pass the other program on their way.
        assert node.receive_frame(B, there.data, origin=A.number).passed
        assert node.receive_frame(A, back.data, origin=B.number).passed
        assert node.send(B, A.ipv4, tcp(80, 4000, SYN | ACK)).event is None
    finally:
        node.programs = kept
        for fd in loaded.values():
            os.close(fd)
