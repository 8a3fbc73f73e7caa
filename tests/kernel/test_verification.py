"""`ciliate policy verify` on a node that goes on meanwhile: the agent's half, and the child that asks."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest

from agent.events import Event, PolicyResolved
from agent.loop import Loop
from agent.operations import realize
from agent.resolution import resolve_all
from agent.restore import repair
from agent.state import State
from agent.step import step
from agent.verification import Verification
from datapath.kernel_map import KernelMap
from datapath.maps import MAPS
from datapath.pins import open_map, open_program, pin_program
from model.errors import Unavailable
from model.flow import Direction
from policy.mapstate import DENY, PolicyKey
from policy.repository import Repository
from policy.schema import load_rules
from tests.kernel.harness import CACHE
from tests.kernel.proving import World
from tests.unit.policy.drawing import Case

WEB_ONLY = {
    "endpointSelector": {"matchLabels": {"app": "db"}},
    "ingress": [
        {
            "fromEndpoints": [{"matchLabels": {"app": "web"}}],
            "toPorts": [{"ports": [{"port": "80", "endPort": 90, "protocol": "TCP"}]}],
        }
    ],
}
NOBODY = {"endpointSelector": {}, "ingressDeny": [{"fromEntities": ["all"]}]}
ALL = (0, 60.0, 1)


class Node:
    """A world with a writer."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.datapath = world.datapath
        self.loop: Loop[State, Event] = Loop(
            world.state,
            step,
            lambda operations: realize(world.datapath, operations),
            lambda state: repair(world.datapath, state),
        )
        self.loop.start()
        self.verification = Verification(self.loop, world.root, CACHE, world.datapath.node)

    def stop(self) -> None:
        self.verification.close()
        self.loop.stop()
        self.world.state = self.loop.state
        repair(self.datapath, self.world.state)

    def put(self, *rules: dict[str, Any]) -> None:
        repository = Repository().add(load_rules(list(rules)))
        self.loop.call(PolicyResolved(resolve_all(self.loop.state, repository)))

    def slot(self, identity: int) -> int:
        return self.loop.state.subjects[identity].slot


@pytest.fixture
def node(world: World) -> Iterator[Node]:
    world.begin(Case(()))
    made = Node(world)
    yield made
    made.stop()


def test_a_node_as_it_should_be(node: Node) -> None:
    node.put(WEB_ONLY)
    answer = node.verification.run(*ALL)
    assert answer["disagreements"] == []
    assert (answer["endpoints"], answer["rules"], answer["complete"]) == (8, 1, True)
    assert answer["pairs"] == answer["of"] > 500
    assert answer["packets"] > 8 * answer["pairs"]


def test_only_as_many_pairs_as_wanted(node: Node) -> None:
    answer = node.verification.run(100, 60.0)
    assert (answer["pairs"], answer["complete"]) == (100, True)
    assert answer["of"] > 500


def test_the_node_notices_nothing(node: Node) -> None:
    node.put(WEB_ONLY)
    before = everything(node)
    assert node.verification.run(*ALL)["disagreements"] == []
    assert everything(node) == before


def everything(node: Node) -> dict[str, Any]:
    """All that programs write, and all that they read."""
    found: dict[str, Any] = {info.name: (info.entries, info.type) for info in node.datapath.map_info()}
    for name in ("ct4", "ct6", "fragments4", "fragments6", "epoch"):
        spec = MAPS[name]
        fd = open_map(node.world.root, name)
        found[name] = sorted(KernelMap(name, fd, spec.key_size, spec.value_size, 1).items())
        os.close(fd)
    found["metrics"] = node.datapath.metrics(), node.datapath.lost_events()
    found["policies"] = node.datapath.policies(range(1, 128))
    found["who"] = dict(node.datapath.endpoints.items()), dict(node.datapath.ipcache.items())
    return found


def test_an_entry_that_no_rule_made_is_named(node: Node) -> None:
    node.put(WEB_ONLY)
    key = PolicyKey(Direction.INGRESS, 256, 6, 80, 16)
    node.datapath.edit_policies([node.slot(258)], {key: DENY}, ())
    found = node.verification.run(*ALL)["disagreements"]
    assert {
        (each["source"]["identity"], each["destination"]["identity"], each["port"]) for each in found
    } == {(256, 258, 80)}
    one = found[0]
    assert "container:app=web" in one["source"]["labels"]
    assert one["destination"]["name"] == "c2"
    assert (one["rules"], one["twin"]) == ("Forwarded", "Forwarded")
    assert one["kernel"] == "Policy denied by a deny rule (ingress)"
    assert one["packet"] == "opening"


def test_an_address_that_is_taken_for_another_is_named(node: Node) -> None:
    node.put(WEB_ONLY)
    prefixes = {endpoint.container_name: endpoint.prefixes for endpoint in node.loop.state.endpoints.values()}
    entry = node.datapath.ipcache.get(prefixes["c2"][0])
    assert entry
    node.datapath.ipcache.put(ip_network("172.17.0.0/16"), entry)
    found = node.verification.run(*ALL)["disagreements"]
    assert found
    ends = [(each["source"]["address"], each["destination"]["address"]) for each in found]
    assert all(any(address.startswith("172.17.") for address in pair) for pair in ends)


def test_what_changes_meanwhile_is_no_disagreement(node: Node) -> None:
    """Rules for everybody come and go all the time. Either nothing was found, or it says that it could not tell."""
    stopping = threading.Event()

    def change() -> None:
        while not stopping.is_set():
            node.put(NOBODY)
            node.put(WEB_ONLY)

    changing = threading.Thread(target=change)
    changing.start()
    try:
        for _ in range(3):
            try:
                assert node.verification.run(0, 60.0)["disagreements"] == []
            except Unavailable as error:
                assert "changed" in error.message
    finally:
        stopping.set()
        changing.join()
    assert node.verification.run(0, 60.0)["disagreements"] == []


def test_one_at_a_time_and_it_can_be_ended(node: Node) -> None:
    told: list[Exception] = []

    def ask() -> None:
        try:
            while True:
                node.verification.run(0, 60.0)
        except Unavailable as error:
            told.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    pause = threading.Event()
    while node.verification._child is None:
        pause.wait(0.01)
    with pytest.raises(Unavailable, match="another verification is running"):
        node.verification.run(*ALL)
    node.verification.close()
    asking.join(30)
    assert told


def test_programs_of_another_version_are_not_verified(node: Node) -> None:
    """What is asked must be what is in force."""
    root = node.world.root
    right, wrong = open_program(root, "from_container"), open_program(root, "to_container")
    pin_program(root, "from_container", wrong)
    try:
        with pytest.raises(Unavailable, match="from_container that is in force is not that of this version"):
            node.verification.run(*ALL)
    finally:
        pin_program(root, "from_container", right)
        os.close(right)
        os.close(wrong)
