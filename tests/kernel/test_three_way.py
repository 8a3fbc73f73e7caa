"""The same verdict three times: by the rules themselves, by the Python twin of the lookup, and by the program.

Rules are drawn at random, as JSON. The oracle (policy.oracle) reads a verdict off the rules and shares
nothing with the rest; the twin (policy.decide) and the program ask the maps that were made of them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.flow import Direction, DropReason
from model.labels import Labels
from policy.decide import decide
from policy.mapstate import PolicyEntry, PolicyKey, map_state
from policy.oracle import Verdict, verdict
from policy.repository import Repository
from policy.resolve import Enforcement, resolve
from policy.rule import Rule
from policy.schema import load_rules
from tests.kernel.harness import (
    BRIDGE,
    HOST4,
    HOST6,
    LISTED,
    LISTED4,
    LISTED6,
    OTHER,
    UNMANAGED4,
    UPLINK,
    WORLD4,
    WORLD6,
    A,
    B,
    Container,
    Node,
    Outcome,
)
from tests.kernel.packets import ICMP, ICMP6, SCTP, SYN, TCP, UDP, Payload, icmp, sctp, tcp, udp

EXAMPLES = int(os.environ.get("THREE_WAY_EXAMPLES", "60"))
PACKETS = 20

C = replace(OTHER, network=A.network)
LABELS: Mapping[int, Labels] = {
    A.identity: Labels.parse(["container:app=web", "container:tier=front", "image:app=forged"]),
    B.identity: Labels.parse(["container:app=db", "container:tier=back"]),
    C.identity: Labels.parse(["container:app=web", "container:tier=back", "compose:project=shop"]),
    1: Labels.parse(["reserved:host"]),
    3: Labels.parse(["reserved:unmanaged"]),
    9: Labels.parse(["reserved:world", "reserved:world-ipv4"]),
    10: Labels.parse(["reserved:world", "reserved:world-ipv6"]),
    LISTED: Labels.parse(["cidr:203.0.113.0/24", "reserved:world", "reserved:world-ipv4"]),
    LISTED + 1: Labels.parse(["cidr:2001:db8:aaaa::/48", "reserved:world", "reserved:world-ipv6"]),
}


@dataclass(frozen=True)
class Party:
    """`container` None: something that is none of this node's, seen behind the interface `origin`."""

    identity: int
    ipv4: str
    ipv6: str
    container: Container | None = None
    origin: int = 0


CONTAINERS = [Party(one.identity, one.ipv4, one.ipv6, one) for one in (A, B, C)]
STRANGERS4 = [
    Party(1, HOST4, HOST6),
    Party(9, WORLD4, "", origin=UPLINK),
    Party(LISTED, LISTED4, "", origin=UPLINK),
    Party(3, UNMANAGED4, "", origin=BRIDGE),
]
STRANGERS6 = [
    Party(1, HOST4, HOST6),
    Party(10, "", WORLD6, origin=UPLINK),
    Party(LISTED + 1, "", LISTED6, origin=UPLINK),
]

SELECTORS = st.sampled_from(
    [
        {},
        {"matchLabels": {"app": "web"}},
        {"matchLabels": {"container:tier": "back"}},
        {"matchLabels": {"app": "forged"}},
        {"matchLabels": {"compose:project": "shop"}},
        {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]},
        {"matchExpressions": [{"key": "reserved:host", "operator": "DoesNotExist"}]},
    ]
)
ENTITIES = st.sampled_from(["all", "world", "host", "cluster", "unmanaged", "none"])
CIDRS = st.sampled_from(["203.0.113.0/24", "203.0.0.0/16", "0.0.0.0/0", "2001:db8:aaaa::/48", "::/0"])
PORT_RULES = st.sampled_from(
    [
        {"port": "80", "protocol": "TCP"},
        {"port": "80"},
        {"port": "80", "endPort": 90, "protocol": "TCP"},
        {"port": "1", "endPort": 65535, "protocol": "UDP"},
        {"port": "0", "protocol": "TCP"},
        {"port": "0"},
        {"port": "53", "protocol": "UDP"},
        {"port": "1024", "endPort": 2047, "protocol": "ANY"},
    ]
)
ICMP_RULES = st.sampled_from([{"type": 8}, {"type": "EchoRequest", "family": "IPv6"}, {"type": 13}])


@st.composite
def elements(draw: st.DrawFn, way: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    peers = draw(st.sampled_from(["Endpoints", "Entities", "CIDR", None]))
    if peers:
        choice = {"Endpoints": SELECTORS, "Entities": ENTITIES, "CIDR": CIDRS}[peers]
        made[way + peers] = draw(st.lists(choice, max_size=2))
    services = draw(st.sampled_from(["toPorts", "icmps", None]))
    if services == "toPorts":
        made["toPorts"] = [{"ports": draw(st.lists(PORT_RULES, max_size=3))}]
    elif services == "icmps":
        made["icmps"] = [{"fields": draw(st.lists(ICMP_RULES, min_size=1, max_size=2))}]
    return made


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    lists = {"ingress": "from", "ingressDeny": "from", "egress": "to", "egressDeny": "to"}
    chosen = draw(st.lists(st.sampled_from(sorted(lists)), min_size=1, max_size=3, unique=True))
    rule: dict[str, Any] = {"endpointSelector": draw(SELECTORS)}
    rule |= {name: draw(st.lists(elements(lists[name]), max_size=2)) for name in chosen}
    if draw(st.booleans()):
        rule["enableDefaultDeny"] = {"ingress": draw(st.booleans()), "egress": draw(st.booleans())}
    return rule


@dataclass(frozen=True)
class Packet:
    source: Party
    destination: Party
    v6: bool
    protocol: int
    port: int
    """ICMP: the type."""

    def payload(self, number: int) -> Payload:
        """`number` makes it a flow of its own."""
        if self.protocol in (ICMP, ICMP6):
            return icmp(self.port, id=number, v6=self.v6)
        return {TCP: tcp(number, self.port, SYN), UDP: udp(number, self.port), SCTP: sctp(number, self.port)}[
            self.protocol
        ]

    def run(self, node: Node, number: int) -> Outcome:
        if self.source.container is None:
            assert self.destination.container
            address = self.source.ipv6 if self.v6 else self.source.ipv4
            return node.receive(
                self.destination.container, address, self.payload(number), origin=self.source.origin
            )
        address = self.destination.ipv6 if self.v6 else self.destination.ipv4
        return node.send(self.source.container, address, self.payload(number))


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    v6 = draw(st.booleans())
    one = draw(st.sampled_from(CONTAINERS))
    other = draw(
        st.sampled_from([*CONTAINERS, *(STRANGERS6 if v6 else STRANGERS4)]).filter(lambda it: it is not one)
    )
    source, destination = (one, other) if draw(st.booleans()) else (other, one)
    protocol = draw(st.sampled_from([TCP, UDP, SCTP, ICMP6 if v6 else ICMP]))
    ports = st.sampled_from([128, 160] if v6 else [8, 13, 42]) if protocol in (ICMP, ICMP6) else PORTS
    return Packet(source, destination, v6, protocol, draw(ports))


PORTS = st.sampled_from([53, 79, 80, 85, 90, 91, 443, 1023, 1024, 2047, 2048, 65535])


def ends(packet: Packet) -> list[tuple[Party, Party, Direction]]:
    """(subject, peer, direction) of every container that has a say, in the order in which they are asked."""
    asked = [
        (packet.source, packet.destination, Direction.EGRESS),
        (packet.destination, packet.source, Direction.INGRESS),
    ]
    return [end for end in asked if end[0].container]


def by_the_rules(rules: tuple[Rule, ...], mode: Enforcement, packet: Packet) -> bool:
    return all(
        verdict(
            rules,
            mode,
            LABELS[subject.identity],
            LABELS[peer.identity],
            direction,
            packet.protocol,
            packet.port,
        )
        is Verdict.ALLOWED
        for subject, peer, direction in ends(packet)
    )


States = Mapping[int, Mapping[PolicyKey, PolicyEntry]]


def by_the_twin(states: States, packet: Packet) -> tuple[DropReason, Direction | None]:
    """The reason and whose it is."""
    for subject, peer, direction in ends(packet):
        decision = decide(states[subject.identity], peer.identity, direction, packet.protocol, packet.port)
        if not decision.allowed:
            denied = DropReason.POLICY_DENY_RULE if decision.deny_rule else DropReason.POLICY_DENIED
            return denied, direction
    return DropReason.NONE, None


def make_states(rules: tuple[Rule, ...], mode: Enforcement) -> States:
    repository = Repository(rules)
    return {
        party.identity: map_state(
            resolve(repository, LABELS[party.identity], mode=mode),
            lambda selector: [number for number, labels in LABELS.items() if selector.matches(labels)],
        )
        for party in CONTAINERS
    }


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    rules=st.lists(documents(), max_size=4),
    mode=st.sampled_from([Enforcement.DEFAULT, Enforcement.DEFAULT, *Enforcement]),
    sent=st.lists(packets(), min_size=PACKETS, max_size=PACKETS),
)
def test_rules_twin_and_program_agree(
    node: Node, rules: list[dict[str, Any]], mode: Enforcement, sent: list[Packet]
) -> None:
    loaded = load_rules(rules)
    states = make_states(loaded, mode)
    prepare(node)
    node.datapath.replace_policies(
        {party.container.number: states[party.identity] for party in CONTAINERS if party.container}
    )
    node.datapath.bump_epoch()
    for number, packet in zip(count(1024), sent, strict=False):
        allowed = by_the_rules(loaded, mode, packet)
        reason, direction = by_the_twin(states, packet)
        outcome = packet.run(node, number)
        assert (allowed, allowed) == (reason is DropReason.NONE, outcome.passed), packet
        assert outcome.reason is reason, packet
        if direction is not None:
            assert outcome.direction is direction, packet


def prepare(node: Node) -> None:
    """Three containers on one network, no flows, and a prefix of each family with its own identity."""
    node.datapath.collect_conntrack((1 << 63) - 1, ())
    if node.datapath.endpoints.get(C.number) != C.endpoint:
        node.add(C)
