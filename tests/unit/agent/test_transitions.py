"""While one thing becomes another, no packet passes that neither the old nor the new lets pass: looked at after every
single operation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address, ip_network
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.desired import desired, diff, realized
from agent.events import EndpointPut, EndpointRemoved, Event, HostChanged, NetworkPut, PolicyResolved
from agent.operations import EditPolicies, Operation, ReplacePolicies, realize
from agent.resolution import resolve_all
from agent.room import Room
from agent.state import State
from agent.step import step
from datapath.memory import MemoryDatapath
from driver.hostfacts import HostFacts
from model.endpoint import Endpoint
from model.errors import Exhausted
from model.flow import Direction
from model.identity import Reserved
from policy.decide import decide
from policy.repository import Repository
from policy.resolve import Enforcement
from policy.schema import load_rules
from tests.unit.agent.node import Node
from tests.unit.agent.test_step import ROLES, endpoint, fresh, network

Document = dict[str, Any]

PREFIXES = ["10.64.0.0/10", "10.70.0.0/16", "10.70.0.0/17", "10.70.128.0/17", "10.70.0.9/32", "10.70.0.8/31",
            "192.0.2.0/24", "192.0.2.8/29", "0.0.0.0/0"]  # fmt: skip
ADDRESSES = ["10.65.0.1", "10.70.0.1", "10.70.0.8", "10.70.0.9", "10.70.200.1", "192.0.2.1", "192.0.2.9",
             "203.0.113.1", "10.0.0.5", "10.0.0.6", "10.0.0.7"]  # fmt: skip
PORTS = [80, 443]


@dataclass(frozen=True)
class Packet:
    """To or from the container behind this interface."""

    ifindex: int
    peer: str
    direction: Direction
    port: int


PACKETS = [
    Packet(*chosen) for chosen in product(range(100, 103), ADDRESSES, [Direction.EGRESS, Direction.INGRESS], PORTS)
]  # fmt: skip


def passing(datapath: MemoryDatapath) -> frozenset[Packet]:
    """As the programs judge it: who the peer is, then what the policy of each end that is a container says."""
    peers = {address: datapath.ipcache.find(ip_address(address)) for address in ADDRESSES}
    policies = cache(lambda slot: datapath.policy(slot) or {})

    @cache
    def allows(slot: int, identity: int, direction: Direction, port: int) -> bool:
        return decide(policies(slot), identity, direction, 6, port).allowed

    def passes(packet: Packet) -> bool:
        own, peer = datapath.endpoints.get(packet.ifindex), peers[packet.peer]
        identity = int(Reserved.WORLD_IPV4) if peer is None else peer.identity
        if own is None or not identity or not allows(own.policy, identity, packet.direction, packet.port):
            return False
        other = Direction.INGRESS if packet.direction is Direction.EGRESS else Direction.EGRESS
        return peer is None or not peer.policy or allows(peer.policy, own.identity, other, packet.port)

    return frozenset(packet for packet in PACKETS if passes(packet))


def watched(datapath: MemoryDatapath, operations: Sequence[Operation]) -> list[frozenset[Packet]]:
    """What passes before, and after each operation."""
    seen = [passing(datapath)]
    for operation in operations:
        realize(datapath, [operation])
        seen.append(passing(datapath))
    return seen


def never_open(seen: Sequence[frozenset[Packet]]) -> bool:
    return all(now <= seen[0] | seen[-1] for now in seen)


def never_shut(seen: Sequence[frozenset[Packet]]) -> bool:
    return all(now >= seen[0] & seen[-1] for now in seen)


def resolved(state: State, *rules: Document, mode: Enforcement | None = None) -> PolicyResolved:
    """What becomes of these rules, for whoever is there now."""
    return PolicyResolved(resolve_all(state, Repository().add(load_rules(list(rules))), enforcement=mode))


def settled(*events: Event) -> tuple[State, MemoryDatapath]:
    """A container of each role, and what else is said."""
    datapath, state = MemoryDatapath(), fresh()
    realize(datapath, diff(desired(state), realized(datapath, 1)))
    joining = [EndpointPut(endpoint(number, role=role)) for number, role in enumerate(ROLES)]
    return go(state, datapath, NetworkPut(network(0)), *joining, *events), datapath


def go(state: State, datapath: MemoryDatapath, *events: Event) -> State:
    for event in events:
        state, operations = step(state, event)
        realize(datapath, operations)
    return state


@st.composite
def elements(draw: st.DrawFn, way: str) -> Document:
    kind = draw(st.sampled_from(["CIDR", "CIDR", "CIDRSet", "Entities", "Endpoints", None]))
    found: Document = {}
    if kind == "CIDR":
        found["toCIDR"] = draw(st.lists(st.sampled_from(PREFIXES), min_size=1, max_size=3, unique=True))
    elif kind == "CIDRSet":
        outer = ip_network(draw(st.sampled_from(PREFIXES)))
        inside = [
            text for text in PREFIXES if ip_network(text) != outer and ip_network(text).subnet_of(outer)
        ]  # type: ignore[arg-type]
        holes = draw(st.lists(st.sampled_from(inside), max_size=2, unique=True)) if inside else []
        found["toCIDRSet"] = [{"cidr": str(outer), "except": holes}]
    elif kind == "Entities":
        found["toEntities"] = [draw(st.sampled_from(["world", "world", "all", "cluster"]))]
    elif kind == "Endpoints":
        found["toEndpoints"] = [{"matchLabels": {"role": draw(st.sampled_from(ROLES))}}]
    if draw(st.integers(0, 3)) == 0:
        found["toPorts"] = [{"ports": [{"port": "80", "protocol": "TCP"}]}]
    return {name.replace("to", way, 1) if name != "toPorts" else name: value for name, value in found.items()}


@st.composite
def documents(draw: st.DrawFn) -> Document:
    role = draw(st.sampled_from([None, None, *ROLES]))
    rule: Document = {"endpointSelector": {"matchLabels": {"role": role}} if role else {}}
    chosen = st.lists(
        st.sampled_from(["egress", "egressDeny", "ingress", "ingressDeny"]), min_size=1, max_size=2
    )
    for section in draw(chosen):
        way = "to" if section.startswith("egress") else "from"
        rule[section] = draw(st.lists(elements(way), min_size=1, max_size=2))
    return rule


rule_sets = st.lists(documents(), max_size=4)
modes = st.sampled_from([None, None, None, *Enforcement])
meanwhile = st.sampled_from(
    [None, None, EndpointPut(endpoint(3, role="db")), EndpointPut(endpoint(4, role="web", in_network=0)),
     EndpointRemoved("e1"), EndpointPut(endpoint(1, role="db"))]
)  # fmt: skip
hosts = st.sampled_from([HostFacts(), HostFacts(unmanaged=frozenset([ip_network("10.70.0.0/24")]))])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(rule_sets, modes, meanwhile), min_size=2, max_size=4), hosts)
def test_new_rules_judge_nobody_as_neither_they_nor_the_old_ones_do(
    changes: list[tuple[list[Document], Enforcement | None, Event | None]], host: HostFacts
) -> None:
    state, datapath = settled(HostChanged(host))
    for rules, mode, event in changes:
        found = resolved(state, *rules, mode=mode)
        if event is not None:
            state = go(state, datapath, event)
        state, operations = step(state, found)
        seen = watched(datapath, operations)
        assert never_open(seen)
        assert never_shut(seen), "nor is what both allow denied for a moment"
        assert diff(desired(state), realized(datapath, state.slots.fresh)) == []


endpoints = st.lists(
    st.builds(lambda number, role, audit: endpoint(number, role=role, audit=audit),
              st.integers(0, 2), st.sampled_from(ROLES), st.booleans()),
    max_size=4, unique_by=lambda one: one.docker_id,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(rule_sets, rule_sets, endpoints, endpoints, st.integers(0, 3))
def test_putting_right_judges_nobody_as_neither_the_kernel_nor_the_state_does(
    old: list[Document], new: list[Document], there: list[Endpoint], here: list[Endpoint], lead: int
) -> None:
    """Two lives that know nothing of each other: their numbers mean what each says."""
    datapath = MemoryDatapath()
    states = []
    for rules, known in ((old, there), (new, here)):
        state = go(fresh(), MemoryDatapath(), NetworkPut(network(0)))
        others = [{"endpointSelector": {}, "egress": [{"toCIDR": PREFIXES[:lead]}]}] if known is here else []
        state = go(state, MemoryDatapath(), resolved(state, *others))
        state = go(state, MemoryDatapath(), resolved(state, *rules), *map(EndpointPut, known))
        states.append(state)
        slots = max(state.slots.fresh for state in states)
        seen = watched(datapath, diff(desired(state), realized(datapath, slots)))
        assert never_open(seen)
        assert diff(desired(state), realized(datapath, slots)) == []


@settings(max_examples=100, deadline=None)
@given(rule_sets, rule_sets, st.integers(0, 6))
def test_what_fails_half_way_is_taken_back_as_safely(
    old: list[Document], new: list[Document], done: int
) -> None:
    state, datapath = settled()
    state = go(state, datapath, resolved(state, *old))
    before = passing(datapath)
    _, operations = step(state, resolved(state, *new))
    realize(datapath, operations[:done])
    seen = watched(datapath, diff(desired(state), realized(datapath, state.slots.fresh)))
    assert never_open(seen)
    assert seen[-1] == before


ALL_BUT_ONE = {
    "endpointSelector": {},
    "egress": [{"toEntities": ["world"]}],
    "egressDeny": [{"toCIDR": ["10.70.0.9/32"]}],
}
WIDE = {"endpointSelector": {}, "egress": [{"toCIDR": ["10.64.0.0/10"]}]}


def denying(*prefixes: str) -> Document:
    return {"endpointSelector": {}, "egressDeny": [{"toCIDR": list(prefixes)}]}


@pytest.mark.parametrize(
    ("old", "new", "denied"),
    [
        ([{"endpointSelector": {}, "egress": [{}]}, denying("10.70.0.9/32")], [ALL_BUT_ONE], "10.70.0.9"),
        ([{"endpointSelector": {}, "egress": [{"toEntities": ["host"]}]}], [ALL_BUT_ONE], "10.70.0.9"),
        ([WIDE, denying("10.70.0.0/16")], [WIDE, denying("10.70.0.0/17", "10.70.128.0/17")], "10.70.200.1"),
        ([WIDE, denying("10.70.0.0/17", "10.70.128.0/17")], [WIDE, denying("10.70.0.0/16")], "10.70.200.1"),
    ],
    ids=[
        "all but one address",
        "the world but one address",
        "two halves of a prefix",
        "one prefix of two halves",
    ],
)
@pytest.mark.parametrize("putting_right", [False, True])
def test_what_both_deny_never_passes(
    old: list[Document], new: list[Document], denied: str, putting_right: bool
) -> None:
    state, datapath = settled()
    state = go(state, datapath, resolved(state, *old))
    after, operations = step(state, resolved(state, *new))
    if putting_right:
        operations = diff(desired(after), realized(datapath, state.slots.fresh))
    packet = Packet(100, denied, Direction.EGRESS, 80)
    assert [packet in now for now in watched(datapath, operations)] == [False] * (len(operations) + 1)


def test_more_prefixes_cost_a_policy_that_stays_one_map_and_others_nothing() -> None:
    state, datapath = settled()
    own = {"endpointSelector": {"matchLabels": {"role": "web"}}, "egress": [{"toEntities": ["world"]}]}
    db = {"endpointSelector": {"matchLabels": {"role": "db"}}, "egress": [{"toEndpoints": [{}]}]}
    client = {
        "endpointSelector": {"matchLabels": {"role": "client"}},
        "egress": [{"toCIDR": ["192.0.2.0/24"]}],
    }
    state = go(state, datapath, resolved(state, own, db))
    _, operations = step(state, resolved(state, own, db, client))
    web, other = (state.subjects[endpoint(0, role=role).identity].slot for role in ("web", "client"))
    made = [set(one.policies) for one in operations if isinstance(one, ReplacePolicies)]
    assert made == [{web}, {other}]
    assert not any(isinstance(one, EditPolicies) for one in operations)


def test_rules_for_which_the_old_maps_have_no_room_are_refused_at_once() -> None:
    """The old rules have to judge the new prefixes for a moment."""
    state, datapath = settled()
    world = {"endpointSelector": {}, "egress": [{"toEntities": ["world"], "toPorts": [
        {"ports": [{"port": port, "protocol": "TCP"} for port in ("80", "443", "8080")]}]}]}  # fmt: skip
    state = go(state, datapath, resolved(state, world))
    deny_all = [{"endpointSelector": {}, "egressDeny": [{"toCIDR": PREFIXES[:4]}]}]
    found = resolved(state, *deny_all)
    Room(policy=30).check(state, found.resolution)
    with pytest.raises(Exhausted, match="the rules of now, with the prefixes of the new ones, make"):
        Room(policy=15).check(state, found.resolution)
    assert max(map(len, found.resolution.maps.values())) <= 15


@pytest.fixture
def node() -> Iterator[Node]:
    made = Node().start()
    made.network()
    made.join(0, "web")
    yield made
    made.stop()


def test_prefixes_keep_their_numbers_over_a_restart(node: Node) -> None:
    """Else the rules' peers would be nobody until all is put right."""
    node.put(denying("192.0.2.0/24"))
    node.put(denying("10.70.0.0/16", "192.0.2.0/24") | {"labels": ["more"]})
    numbers = dict(node.state.cidrs.items())
    assert [str(prefix) for prefix in sorted(numbers, key=numbers.__getitem__)] == [
        "192.0.2.0/24",
        "10.70.0.0/16",
    ]
    node.stop()
    epoch = node.datapath.bump_epoch()
    second = node.restarted()
    assert dict(second.state.cidrs.items()) == numbers
    assert second.datapath.bump_epoch() == epoch + 1, "nothing was to be put right"
