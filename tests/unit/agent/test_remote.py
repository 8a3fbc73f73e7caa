"""Containers of other nodes are known here by address and identity, in an
order in which no packet is judged wrongly."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address, ip_network

import pytest
from immutables import Map

from agent.desired import desired, diff, realized
from agent.events import (
    EndpointPut,
    EndpointRemoved,
    Event,
    NetworkPut,
    PeerChange,
    PeersChanged,
    PeersSynced,
    PolicyResolved,
)
from agent.operations import BumpEpoch, DeleteAddresses, EditPolicies, Operation, PutAddresses, realize
from agent.resolution import resolve_all
from agent.state import RemoteNode, State
from agent.step import step
from datapath.memory import MemoryDatapath
from datapath.tables import IpcacheEntry
from model.identity import Reserved
from model.labels import Labels
from model.network import ELSEWHERE
from policy.repository import Repository
from policy.schema import load_rules
from store.keys import IPRecord
from tests.unit.agent.test_step import RULES, endpoint, fresh, network

TUNNEL, MOVED = IPv4Address("192.0.2.2"), IPv4Address("192.0.2.9")
SLICE = ip_network("10.0.64.0/24")
ONE, OTHER = ip_network("10.0.64.5/32"), ip_network("10.0.64.6/32")
CLIENT = Labels.parse(["container:role=client", "network:id=far"])
DB = Labels.parse(["container:role=db", "network:id=far"])
OWN = endpoint(0).identity


def node(ips: dict[object, int], *, tunnel: IPv4Address | None = TUNNEL) -> RemoteNode:
    return RemoteNode(
        (ip_address("192.0.2.2"),),
        tunnel,
        frozenset([SLICE]),
        Map({prefix: IPRecord(identity, ELSEWHERE) for prefix, identity in ips.items()}),  # type: ignore[misc]
    )


def putting(ips: dict[object, int], labels: dict[int, Labels], *removes: object) -> PeersChanged:
    whole = node(ips)
    change = PeerChange(whole.addresses, whole.tunnel, whole.slices, dict(whole.ips), removes)  # type: ignore[arg-type]
    return PeersChanged({"two": change}, labels)


@pytest.fixture
def datapath() -> MemoryDatapath:
    return MemoryDatapath()


@pytest.fixture
def state(datapath: MemoryDatapath) -> State:
    """A web container that admits clients, here; another node without any."""
    realize(datapath, diff(desired(fresh()), realized(datapath, 1)))
    state = go(fresh(), datapath, NetworkPut(network(0)), EndpointPut(endpoint(0)))
    rules = Repository().add(load_rules(RULES))
    return go(state, datapath, PolicyResolved(resolve_all(state, rules)), putting({}, {}))


def go(state: State, datapath: MemoryDatapath, *events: Event) -> State:
    for event in events:
        state, operations = step(state, event)
        realize(datapath, operations)
        assert diff(desired(state), realized(datapath, state.slots.fresh)) == []
    return state


def kinds(operations: list[Operation]) -> list[str]:
    """Each with what it does to policies."""
    return [
        ("introduce" if one.upserts else "dismiss") if isinstance(one, EditPolicies) else type(one).__name__
        for one in operations
    ]


def peers(state: State, datapath: MemoryDatapath) -> set[int]:
    """Identities that the web container's policy says something of."""
    return {key.identity for key in datapath.policy(state.subjects[OWN].slot) or {}}


def test_a_policy_knows_an_identity_before_an_address_has_it_and_until_none_has(
    state: State, datapath: MemoryDatapath
) -> None:
    state, operations = step(state, putting({ONE: 300}, {300: CLIENT}))
    assert kinds(operations) == ["introduce", "PutAddresses"]
    realize(datapath, operations)
    assert datapath.ipcache.find(ip_address("10.0.64.5")) == IpcacheEntry(300, ELSEWHERE, tunnel=TUNNEL)
    assert 300 in peers(state, datapath)
    state, operations = step(state, putting({OTHER: 300}, {}, ONE))
    assert kinds(operations) == ["PutAddresses", "DeleteAddresses", "BumpEpoch"]
    realize(datapath, operations)
    state, operations = step(state, putting({}, {}, OTHER))
    assert kinds(operations) == ["DeleteAddresses", "dismiss", "BumpEpoch"]
    realize(datapath, operations)
    assert 300 not in peers(state, datapath)
    assert state.remote == Map() and 300 not in state.known_identities()


def test_an_address_that_becomes_another_s_makes_flows_be_judged_anew(state: State) -> None:
    state, _ = step(state, putting({ONE: 300}, {300: CLIENT}))
    state, operations = step(state, putting({ONE: 301}, {301: DB}))
    assert kinds(operations) == ["PutAddresses", "dismiss", "BumpEpoch"]
    _, operations = step(state, putting({OTHER: 301}, {}))
    assert BumpEpoch() not in operations, "who takes a free address takes nobody's"


def test_an_identity_that_is_here_too_stays_until_neither_has_it(
    state: State, datapath: MemoryDatapath
) -> None:
    client = endpoint(1, role="client")
    far = {ONE: client.identity}
    state = go(state, datapath, EndpointPut(client), putting(far, {client.identity: client.labels}))
    state = go(state, datapath, EndpointRemoved("e1"))
    assert client.identity in peers(state, datapath)
    state = go(state, datapath, EndpointPut(client), putting({}, {}, ONE))
    assert client.identity in peers(state, datapath)
    state = go(state, datapath, EndpointRemoved("e1"))
    assert client.identity not in peers(state, datapath)


def test_a_node_that_moves_takes_its_containers_along(state: State, datapath: MemoryDatapath) -> None:
    state = go(state, datapath, PeersSynced({"two": node({ONE: 300})}, {300: CLIENT}))
    assert datapath.ipcache.get(ip_network("192.0.2.2")) == IpcacheEntry(
        int(Reserved.REMOTE_NODE), tunnel=TUNNEL
    )
    state = go(state, datapath, PeersSynced({"two": node({ONE: 300}, tunnel=MOVED)}, {300: CLIENT}))
    found = datapath.ipcache.get(ONE)
    assert found is not None and found.tunnel == MOVED


def test_what_a_node_had_is_unknown_when_it_is_gone(state: State, datapath: MemoryDatapath) -> None:
    slice = ip_network("172.30.1.0/24")
    there = RemoteNode((), TUNNEL, frozenset([slice]), Map({ip_network("172.30.1.5"): IPRecord(300, 2)}))
    state = go(state, datapath, PeersSynced({"two": there}, {300: CLIENT}))
    state = go(state, datapath, PeersSynced({"two": RemoteNode(slices=frozenset([slice]))}, {}))
    found = datapath.ipcache.find(ip_address("172.30.1.5"))
    assert found is not None and found.identity == Reserved.UNKNOWN, "its slice is nobody else's yet"
    state = go(state, datapath, PeersSynced({}, {}))
    assert datapath.ipcache.find(ip_address("172.30.1.5")) is None
    assert state.nodes == Map()


def test_the_whole_picture_costs_nothing_where_it_is_known(state: State) -> None:
    picture = PeersSynced({"two": node({ONE: 300})}, {300: CLIENT})
    state, _ = step(state, picture)
    again, operations = step(state, picture)
    assert operations == [] and again == state


def test_a_number_with_new_labels_is_nobody_s_in_between(state: State, datapath: MemoryDatapath) -> None:
    state = go(state, datapath, putting({ONE: 300}, {300: DB}))
    state, operations = step(state, PeersSynced({"two": node({ONE: 300})}, {300: CLIENT}))
    assert kinds(operations) == ["DeleteAddresses", "introduce", "PutAddresses", "BumpEpoch"]
    realize(datapath, operations)
    assert diff(desired(state), realized(datapath, state.slots.fresh)) == []
    assert state.known_identities()[300] == CLIENT


def test_labels_are_what_this_node_s_own_endpoints_have_for_them(
    state: State, datapath: MemoryDatapath
) -> None:
    state = go(state, datapath, putting({ONE: OWN, OTHER: 300}, {OWN: DB, 300: CLIENT}))
    assert state.known_identities()[OWN] == endpoint(0).labels
    assert datapath.ipcache.get(ONE) is None, "whoever it is has not that identity"
    assert datapath.ipcache.get(OTHER) is not None
    late = endpoint(1, role="client")
    datapath = MemoryDatapath()
    realize(datapath, diff(desired(fresh()), realized(datapath, 1)))
    state = go(fresh(), datapath, NetworkPut(network(0)), putting({ONE: late.identity}, {late.identity: DB}))
    state = go(state, datapath, EndpointPut(late))
    assert state.known_identities()[late.identity] == late.labels
    assert datapath.ipcache.get(ONE) is None


def test_of_what_two_say_the_one_that_takes_it_back_takes_back_its_own(
    state: State, datapath: MemoryDatapath
) -> None:
    state = go(state, datapath, putting({ONE: 300}, {300: CLIENT}))
    change = PeerChange((), MOVED, frozenset(), {ONE: IPRecord(301, 2)}, ())
    state = go(state, datapath, PeersChanged({"three": change}, {301: DB}))
    state = go(state, datapath, putting({}, {}, ONE))
    assert datapath.ipcache.get(ONE) == IpcacheEntry(301, 2, tunnel=MOVED)


def test_all_puts_come_before_all_deletions(state: State, datapath: MemoryDatapath) -> None:
    state = go(state, datapath, PeersSynced({"two": node({ONE: 300})}, {300: CLIENT}))
    _, operations = step(state, PeersSynced({"three": node({OTHER: 301}, tunnel=MOVED)}, {301: DB}))
    found = [type(one) for one in operations if isinstance(one, PutAddresses | DeleteAddresses)]
    assert found == sorted(found, key=lambda kind: kind is DeleteAddresses)
