"""What a packet costs in lookups: the verdict of an end is three at most, and whoever has one pays nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from model.flow import Direction, DropReason
from policy.mapstate import DENY, PolicyEntry, PolicyKey
from tests.kernel.harness import OPEN, SEALED, WORLD4, WORLD6, A, B, Node
from tests.kernel.lookups import POLICY, Lookups, helpers
from tests.kernel.packets import ACK, SYN, TCP, tcp

VERDICT = ["policies", POLICY, POLICY]
"""Of one end: its map, the entry for the peer, the entry for anybody."""

WEB = PolicyKey(Direction.INGRESS, A.identity, TCP, 80, 16)


@pytest.fixture(scope="module")
def traced(programs: Path) -> Iterator[Lookups]:
    made = Lookups(programs)
    yield made
    made.close()


@pytest.fixture
def lookups(node: Node, traced: Lookups) -> Iterator[Lookups]:
    """The node's programs are those that leave a trace."""
    kept, node.programs = node.programs, traced.programs
    traced.take()
    yield traced
    node.programs = kept


def of_policy(maps: list[str]) -> list[str]:
    return [name for name in maps if name in VERDICT]


def many_rules() -> dict[PolicyKey, PolicyEntry]:
    others = {
        PolicyKey(direction, 5000 + number, TCP, 80, 16): PolicyEntry()
        for number in range(500)
        for direction in Direction
    }
    return {**OPEN, **others, WEB: PolicyEntry()}


RULES = pytest.mark.parametrize("rules", [OPEN, many_rules()], ids=["no rules", "1,000 rules"])
FAMILY = pytest.mark.parametrize("v6", [False, True], ids=["IPv4", "IPv6"])


@FAMILY
@RULES
class TestAFlow:
    def test_between_two_containers_costs_a_verdict_of_each_once(
        self, node: Node, lookups: Lookups, v6: bool, rules: dict[PolicyKey, PolicyEntry]
    ) -> None:
        one, other = (A.ipv6, B.ipv6) if v6 else (A.ipv4, B.ipv4)
        node.allow(A, rules)
        node.allow(B, rules)
        assert node.send(A, other, tcp(4000, 80, SYN)).passed
        assert of_policy(lookups.take()) == VERDICT * 2
        established = ["epoch", "scratch", "endpoints", "hosts6", "ct6", "metrics"]
        if not v6:
            established = [name.replace("6", "4") for name in established]
        for sender, destination, payload in (
            (B, one, tcp(80, 4000, SYN | ACK)),
            (A, other, tcp(4000, 80)),
            (B, one, tcp(80, 4000)),
        ):
            assert node.send(sender, destination, payload).passed
            assert lookups.take() == established

    def test_with_the_world_costs_one_verdict_once(
        self, node: Node, lookups: Lookups, v6: bool, rules: dict[PolicyKey, PolicyEntry]
    ) -> None:
        world = WORLD6 if v6 else WORLD4
        node.allow(A, rules)
        assert node.send(A, world, tcp(4000, 443, SYN)).passed
        assert of_policy(lookups.take()) == VERDICT
        assert node.receive(A, world, tcp(443, 4000, SYN | ACK)).passed
        assert node.send(A, world, tcp(4000, 443)).passed
        assert not of_policy(lookups.take())

    def test_from_the_world_costs_one_verdict_once(
        self, node: Node, lookups: Lookups, v6: bool, rules: dict[PolicyKey, PolicyEntry]
    ) -> None:
        world = WORLD6 if v6 else WORLD4
        node.allow(A, rules)
        assert node.receive(A, world, tcp(4000, 80, SYN)).passed
        assert of_policy(lookups.take()) == VERDICT
        assert node.send(A, world, tcp(80, 4000, SYN | ACK)).passed
        assert node.receive(A, world, tcp(4000, 80)).passed
        assert not of_policy(lookups.take())


def test_a_denied_packet_costs_no_more_than_the_verdicts(node: Node, lookups: Lookups) -> None:
    node.allow(B, SEALED)
    assert node.send(A, B.ipv4, tcp(4000, 80, SYN)).reason is DropReason.POLICY_DENIED
    assert of_policy(lookups.take()) == VERDICT * 2
    node.allow(A, {})
    assert node.send(A, B.ipv4, tcp(4000, 80, SYN)).reason is DropReason.POLICY_DENIED
    assert of_policy(lookups.take()) == VERDICT


def test_a_denial_costs_what_a_permission_does(node: Node, lookups: Lookups) -> None:
    node.allow(A, {**OPEN, PolicyKey(Direction.EGRESS, B.identity): DENY})
    assert node.send(A, B.ipv4, tcp(4000, 80, SYN)).reason is DropReason.POLICY_DENY_RULE
    assert of_policy(lookups.take()) == VERDICT


def test_a_flow_is_judged_once_more_for_each_change_of_rules(node: Node, lookups: Lookups) -> None:
    node.send(A, B.ipv4, tcp(4000, 80, SYN))
    node.allow(B, many_rules())
    lookups.take()
    assert node.send(A, B.ipv4, tcp(4000, 80)).passed
    assert of_policy(lookups.take()) == VERDICT * 2
    assert node.send(A, B.ipv4, tcp(4000, 80)).passed
    assert not of_policy(lookups.take())


def test_nothing_is_read_past_the_count(traced: Lookups) -> None:
    """No function of the kernel that these programs call reads a map but the lookup that is counted: the others
    write one (2), tell the time (5, 160), send (23, 155), sum (28), read, write, cut or pull the packet
    (26, 9, 38, 39), draw lots (7), address a tunnel (20, 21) or fill
    the ring (131, 132)."""
    for code in traced.code.values():
        assert helpers(code) <= {1, 2, 5, 7, 9, 20, 21, 23, 26, 28, 38, 39, 131, 132, 155, 160}
