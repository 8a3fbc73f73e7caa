"""A node for each test of the programs, in a network namespace that all of them share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from datapath.pins import mount_bpffs, unmount
from tests.conftest import require
from tests.kernel import netns
from tests.kernel.harness import BRIDGE, CACHE, OTHER, SIZES, UPLINK, A, B, Node
from tests.kernel.proving import World, proving_ground


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where both programs and their maps are pinned. They are loaded by a child, as an agent does it, so
    that the compiler does not stay here; what it compiles is kept for the next session."""
    require(os.geteuid() == 0, "root, to load BPF programs")
    root = tmp_path_factory.mktemp("programs") / "bpf"
    mount_bpffs(root)
    try:
        sizes = [f"--size={name}={size}" for name, size in SIZES.items()]
        loader = [sys.executable, "-m", "datapath.loader", "--root", root, "--cache", CACHE, *sizes]
        subprocess.run(loader, check=True, stdout=subprocess.DEVNULL)
        yield root
    finally:
        unmount(root)


@pytest.fixture(scope="session")
def interfaces() -> Iterator[int]:
    """A namespace with interfaces of the numbers that the tests use: a program runs only on one that
    exists."""
    require(os.geteuid() == 0, "root, to make network namespaces")
    with netns.entered():
        for number in (A.number, B.number, OTHER.number, UPLINK, BRIDGE):
            name = f"test{number}"
            subprocess.run(["ip", "link", "add", name, "index", str(number), "type", "veth"], check=True)
        namespace = netns.current()
    yield namespace
    os.close(namespace)


@pytest.fixture(scope="session")
def kept_node(programs: Path) -> Iterator[Node]:
    node = Node(programs)
    yield node
    node.close()


@pytest.fixture
def node(kept_node: Node, interfaces: int) -> Iterator[Node]:
    """The same node for every test, as if new."""
    with netns.entered(interfaces):
        kept_node.reset()
        yield kept_node


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A node for rules and containers that change at random."""
    require(os.geteuid() == 0, "root, to load BPF programs")
    with proving_ground(tmp_path_factory.mktemp("world")) as made:
        yield made
