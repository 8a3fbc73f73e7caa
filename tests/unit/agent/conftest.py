"""A node in memory with two containers, for who needs no other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.agent.node import Node


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node().start()
    node.network()
    node.join(0, "web")
    node.join(1, "client")
    yield node
    node.stop()
