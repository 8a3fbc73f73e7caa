from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.conftest import require
from tests.kernel.agent.host import Host


@pytest.fixture(scope="module")
def machine() -> Iterator[Host]:
    """A machine without an engine, on which the agent of this checkout runs."""
    require(os.geteuid() == 0, "root, to make namespaces, links and programs")
    host = Host()
    try:
        yield host
    finally:
        host.close()


@pytest.fixture
def host(machine: Host) -> Iterator[Host]:
    """The machine, with the agent ready, and nothing left of the story before."""
    machine.begin()
    yield machine
    machine.end()
