"""The bed for the stories of this layer: three hosts with a Consul server each, and an underlay between them.

It is made once; each story gets it empty and whole, with an agent on every host, and must leave it empty, which is
checked on every host."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.harness.bed import Bed
from tests.cluster.harness.node import Node
from tests.docker.harness.lending import engine, left_behind, pytest_runtest_makereport, watch
from tests.docker.harness.sandbox import wait_until

__all__ = ["pytest_runtest_makereport"]


@pytest.fixture(scope="session")
def shared_bed() -> Iterator[Bed]:
    with Bed.made(engine()) as bed:
        bed.each(Node.start_agent)
        yield bed


@pytest.fixture
def bed(request: pytest.FixtureRequest, shared_bed: Bed) -> Iterator[Bed]:
    watch(request, *shared_bed.nodes)
    shared_bed.whole()
    before = dict(zip(shared_bed.nodes, shared_bed.each(Node.traces), strict=True))
    yield shared_bed
    shared_bed.heal()
    shared_bed.each(Node.empty)
    # What a host gives back the others hear of a moment later.
    wait_until(
        lambda: not any(shared_bed.each(lambda node: left_behind(node, before[node]))),
        "nothing is left",
        15.0,
    )
