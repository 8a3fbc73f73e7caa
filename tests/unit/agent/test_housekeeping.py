"""What is done now and then, task by task."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from agent.housekeeping import Housekeeping
from agent.step import SPARE_SLOTS
from driver.hostfacts import HostFacts
from model.identity import Reserved
from tests.unit.agent.node import Node, until

FACTS = HostFacts(frozenset({ip_network("192.0.2.7")}), {2: "eth0"})


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node().start()
    node.network()
    yield node
    node.stop()


def test_maps_are_ready_for_those_who_come(node: Node) -> None:
    keeping = Housekeeping(node.loop, node.datapath, node.identities, HostFacts, lambda: None, str)
    keeping._spare_maps()
    assert [node.datapath.policy(slot) for slot in range(1, SPARE_SLOTS)] == [{}] * (SPARE_SLOTS - 1)


def test_what_the_host_view_saw_is_taken_over_even_if_its_word_was_lost(node: Node) -> None:
    keeping = Housekeeping(node.loop, node.datapath, node.identities, lambda: FACTS, lambda: None, str)
    revision = node.loop.revision
    for _ in range(3):
        keeping._host_facts()
    assert node.state.host == FACTS
    assert node.loop.revision == revision + 1
    entry = node.datapath.ipcache.get(ip_network("192.0.2.7"))
    assert entry is not None and entry.identity == Reserved.HOST
    assert dict(node.datapath.devices.items()).keys() == {2}


def test_one_task_that_fails_keeps_no_other_from_being_done(node: Node) -> None:
    def broken() -> HostFacts:
        calls.append(1)
        raise RuntimeError("a bug")

    calls: list[int] = []
    keeping = Housekeeping(node.loop, node.datapath, node.identities, broken, lambda: None, str)
    keeping.start()
    until(lambda: len(calls) > 1 and node.state.prepared)
    keeping.stop()
