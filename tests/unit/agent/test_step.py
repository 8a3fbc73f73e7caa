"""Small steps and the one big one agree: whatever happens, in whatever order, the kernel holds what the state says."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import combinations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from immutables import Map

from agent.addressing import node_addresses
from agent.desired import desired, diff, realized
from agent.events import (
    AuditSet,
    EndpointPut,
    EndpointRemoved,
    Event,
    HostChanged,
    NetworkPut,
    NetworkRemoved,
    PeerChange,
    PeersChanged,
    PeersSynced,
    PolicyResolved,
    SlotsWanted,
)
from agent.operations import (
    BumpEpoch,
    DeleteEndpoint,
    EditPolicies,
    PutAddresses,
    PutEndpoint,
    ReplacePolicies,
    SharePolicy,
    realize,
)
from agent.remote import remote_entry
from agent.resolution import resolve_all
from agent.state import RESERVED, RemoteNode, State
from agent.step import begin, step
from datapath.abi import EndpointFlag
from datapath.memory import MemoryDatapath
from datapath.tables import IpcacheEntry
from driver.hostfacts import HostFacts
from identity.ipcache import Owner
from model.endpoint import Endpoint, EndpointState
from model.errors import CiliateError, Conflict, Exhausted, NotFound
from model.flow import Direction
from model.labels import Labels
from model.network import ELSEWHERE, Network, Subnet
from policy.mapstate import PolicyEntry, PolicyKey
from policy.repository import Repository
from policy.resolve import Enforcement
from policy.schema import load_rules
from policy.selections import Selections
from store.keys import IPRecord

ROLES = ["web", "client", "db"]

RULES = [
    {"endpointSelector": {"matchLabels": {"role": "web"}},
     "ingress": [{"fromEndpoints": [{"matchLabels": {"role": "client"}}],
                  "toPorts": [{"ports": [{"port": "80", "protocol": "TCP"}]}]}]},
    {"endpointSelector": {}, "egress": [{"toCIDRSet": [{"cidr": "192.0.2.0/24", "except": ["192.0.2.8/29"]}]}]},
    {"endpointSelector": {"matchLabels": {"role": "db"}}, "ingressDeny": [{"fromEntities": ["world"]}],
     "ingress": [{"fromCIDR": ["10.0.0.0/8", "10.1.0.5/32"]}]},
    {"endpointSelector": {"matchLabels": {"role": "client"}}, "egress": [{"toEndpoints": [{}]}]},
    {"endpointSelector": {"matchLabels": {"role": "client"}},
     "ingress": [{"fromEndpoints": [{"matchLabels": {"compose:service": "web"}}]},
                 {"fromRequires": [{"matchExpressions": [{"key": "role", "operator": "Exists"}]}]}]},
]  # fmt: skip


def fresh() -> State:
    return begin(State(selections=Selections(identities=Map(RESERVED))), (ip_network("10.0.0.0/16"),))


def network(number: int, **options: bool) -> Network:
    subnets = (
        Subnet(ip_network(f"10.{number}.0.0/24"), ip_address(f"10.{number}.0.1")),
        Subnet(ip_network(f"fd00:{number}::/64"), ip_address(f"fd00:{number}::1")),
    )
    return Network(f"n{number}", f"n{number}", number + 2, subnets, **options)


def endpoint(
    number: int,
    *,
    in_network: int = 0,
    role: str = "web",
    linked: bool = True,
    moved: bool = False,
    audit: bool = False,
) -> Endpoint:
    return Endpoint(
        id=number + 1,
        docker_id=f"e{number}",
        network_id=f"n{in_network}",
        mac="02:42:00:00:00:01",
        ipv4=IPv4Address(f"10.{in_network}.0.{number + 5}"),
        ipv6=IPv6Address(f"fd00:{in_network}::{number + (105 if moved else 5)}"),
        ifindex=100 + number if linked else 0,
        labels=Labels.parse(
            [f"container:role={role}", f"compose:service={role}", f"network:id=n{in_network}"]
        ),
        identity=256 + ROLES.index(role) + 10 * in_network,
        state=EndpointState.READY,
        audit=audit,
    )


REMOTE_LABELS = {
    300 + number: Labels.parse([f"container:role={role}", "network:id=far"])
    for number, role in enumerate(ROLES)
} | {endpoint(0, role=role).identity: endpoint(0, role=role).labels for role in ROLES}
"""Identities that other nodes' containers may have; some are this node's too."""

SLICES = ["10.0.64.0/26", "172.17.0.0/25"]


@st.composite
def remote_nodes(draw: st.DrawFn, names: tuple[str, ...] = ("two", "three")) -> tuple[str, RemoteNode]:
    """Two nodes, which may claim one address both, and be gone but for their slices."""
    name = draw(st.sampled_from(names))
    addresses = draw(st.sets(st.sampled_from(["203.0.113.2", "203.0.113.3", "192.0.2.7"])))
    own = ["10.0.64.6", "10.0.0.5", "203.0.113.2"] if name == "two" else ["10.0.64.7", "fd00:9::5"]
    records = st.builds(
        IPRecord,
        st.sampled_from(sorted(REMOTE_LABELS)),
        st.sampled_from([2, ELSEWHERE]),
        st.lists(st.sampled_from(["web", "db", "no name!"]), max_size=2).map(tuple),
    )
    ips = draw(st.dictionaries(st.sampled_from(["10.0.64.5", *own]), records, max_size=4))
    tunnels = [IPv4Address(f"203.0.113.{last}") for last in ((2, 12) if name == "two" else (3, 13))]
    return name, RemoteNode(
        tuple(map(ip_address, sorted(addresses))),
        draw(st.sampled_from([*tunnels, None])),
        frozenset(map(ip_network, draw(st.sets(st.sampled_from(SLICES))))),
        Map({ip_network(address): record for address, record in ips.items()}),
    )


def changed(state: State, name: str, node: RemoteNode) -> PeersChanged:
    """From what it was to what it is."""
    old = state.nodes.get(name, RemoteNode()).ips
    puts = {prefix: record for prefix, record in node.ips.items() if old.get(prefix) != record}
    removes = [prefix for prefix in old if prefix not in node.ips]
    return PeersChanged(
        {name: PeerChange(node.addresses, node.tunnel, node.slices, puts, removes)}, REMOTE_LABELS
    )


def run(state: State, datapath: MemoryDatapath, *events: Event) -> State:
    for event in events:
        state, operations = step(state, event)
        assert BumpEpoch() not in operations[:-1], "flows are judged anew after all else has changed"
        realize(datapath, operations)
    return state


changes = st.one_of(
    st.builds(lambda n, role, net, flags: endpoint(n, in_network=net, role=role, linked=flags[0], moved=flags[1],
                                                   audit=flags[2]),
              st.integers(0, 5), st.sampled_from(ROLES), st.integers(0, 1),
              st.tuples(st.booleans(), st.booleans(), st.booleans())),
    st.just(SlotsWanted()),
    st.booleans().map(AuditSet),
    st.sampled_from(Enforcement),
    st.integers(0, 5).map(lambda n: EndpointRemoved(f"e{n}")),
    st.integers(0, 1).map(lambda n: NetworkPut(network(n))),
    st.integers(0, 1).map(lambda n: NetworkRemoved(f"n{n}")),
    st.lists(st.sampled_from(RULES), max_size=4),
    remote_nodes(),
    st.sets(st.sampled_from(["two", "three"])).flatmap(
        lambda names: st.tuples(*(remote_nodes((name,)) for name in sorted(names))).map(dict)),
    st.builds(lambda hosts, bridges: HostFacts(frozenset(map(ip_network, hosts)), {2: "eth0"},
                                               unmanaged=frozenset(map(ip_network, bridges))),
              st.sets(st.sampled_from(["192.0.2.7", "192.0.2.255", "10.0.0.1", "10.1.0.5", "203.0.113.0/24"])),
              st.sets(st.sampled_from(["172.17.0.0/16", "10.1.0.0/16", "192.0.2.0/25"]))),
)  # fmt: skip


@pytest.fixture(params=[1, 512])
def shared_from(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Newcomers share the map of their like, or fill one of their own."""
    monkeypatch.setattr("agent.step.SHARED_FROM", request.param)


def sharing(state: State, datapath: MemoryDatapath) -> set[tuple[int, int]]:
    """Pairs of local identities that have one map."""
    held = datapath.policies(range(1, state.slots.fresh))
    slots = {identity: subject.slot for identity, subject in state.subjects.items()}
    return {
        (one, other)
        for one, other in combinations(sorted(slots), 2)
        if slots[one] in held and held[slots[one]] is held.get(slots[other])
    }


def alike(state: State, one: int, other: int) -> bool:
    both = [state.subjects[identity].policy for identity in (one, other) if identity in state.subjects]
    return len(both) == 2 and both[0] is both[1]


@pytest.mark.usefixtures("shared_from")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(changes, max_size=25), st.booleans())
def test_steps_lead_where_the_big_one_leads(happenings: list[object], late: bool) -> None:
    datapath = MemoryDatapath()
    # Slots that nobody owns may hold anything: an agent may have been killed.
    datapath.replace_policies({slot: {PolicyKey(Direction.INGRESS): PolicyEntry()} for slot in range(1, 100)})
    realize(datapath, diff(desired(fresh()), realized(datapath, 1)))
    state = run(fresh(), datapath, NetworkPut(network(0)))
    snapshot = state
    for happening in happenings:
        if isinstance(happening, Endpoint):
            known = state.endpoints.get(happening.docker_id)
            event: Event = EndpointPut(happening)
            if known is not None and known.network_id != happening.network_id:
                continue  # an endpoint never changes its network
        elif isinstance(happening, list):
            rules = Repository().add(load_rules(happening))
            # What was resolved for a snapshot meets a state that has gone on, save in its rules.
            event = PolicyResolved(
                resolve_all(
                    replace(snapshot, cidrs=state.cidrs) if late else state,
                    rules,
                    enforcement=state.enforcement,
                )
            )
        elif isinstance(happening, Enforcement):
            seen = replace(snapshot, cidrs=state.cidrs) if late else state
            event = PolicyResolved(resolve_all(seen, state.repository, enforcement=happening))
        elif isinstance(happening, HostFacts):
            event = HostChanged(happening)
        elif isinstance(happening, tuple):
            event = changed(state, *happening)
        elif isinstance(happening, dict):
            event = PeersSynced(happening, REMOTE_LABELS)
        else:
            event = happening  # type: ignore[assignment]
        snapshot, shared = state, sharing(state, datapath)
        try:
            state = run(state, datapath, event)
        except CiliateError:
            continue
        assert diff(desired(state), realized(datapath, state.slots.fresh)) == []
        assert_peers_are_known(state)
        if not isinstance(event, PolicyResolved):
            kept = {pair for pair in shared if alike(state, *pair) and set(pair) <= stayed(snapshot, state)}
            assert kept <= sharing(state, datapath), "who comes or goes makes nobody copy a map"


def assert_peers_are_known(state: State) -> None:
    """Whatever the way here, it is as if all nodes had been told of at once."""
    used = Counter(record.identity for node in state.nodes.values() for record in node.ips.values())
    assert dict(state.remote) == used
    local = RESERVED.keys() | state.subjects.keys() | {number for _, number in state.cidrs.items()}
    assert set(state.selections.identities) == local | used.keys()
    said: dict[object, set[IpcacheEntry]] = {}
    for node in state.nodes.values():
        for prefix, record in node.ips.items() if node.tunnel else ():
            said.setdefault(prefix, set()).add(remote_entry(record, node))
    found = {
        prefix: owners[Owner.REMOTE]
        for prefix, owners in state.ipcache.claims.items()
        if Owner.REMOTE in owners
    }
    contested = ip_network("10.0.64.5")
    assert found.keys() | {contested} == said.keys() | {contested}
    assert all(entry in said[prefix] for prefix, entry in found.items()), "by whoever said it last"
    nodes = {prefix for prefix, owners in state.ipcache.claims.items() if Owner.NODE in owners}
    assert nodes == node_addresses(state).keys()


def stayed(before: State, after: State) -> set[int]:
    return {
        identity
        for identity, subject in before.subjects.items()
        if identity in after.subjects and after.subjects[identity].slot == subject.slot
    }


def test_identities_alike_share_one_map_and_part_where_they_differ() -> None:
    datapath = MemoryDatapath()
    realize(datapath, diff(desired(fresh()), realized(datapath, 1)))
    state = run(fresh(), datapath, NetworkPut(network(0)))
    for number, role in enumerate(ROLES):
        state = run(state, datapath, EndpointPut(endpoint(number, role=role)))
    web, client, db = (256 + number for number in range(3))
    for rules, pairs in (
        (RULES[1:2], {(web, client), (web, db), (client, db)}),
        (RULES[:2], {(client, db)}),
        ([], {(web, client), (web, db), (client, db)}),
    ):
        state = run(state, datapath, PolicyResolved(resolve_all(state, Repository().add(load_rules(rules)))))
        assert sharing(state, datapath) == pairs


def test_rules_that_leave_somebody_s_policy_as_it_was_leave_his_map() -> None:
    datapath = MemoryDatapath()
    state = run(fresh(), datapath, NetworkPut(network(0)), EndpointPut(endpoint(0)),
                EndpointPut(endpoint(1, role="client")))  # fmt: skip
    first = load_rules(RULES[3:])
    state = run(state, datapath, PolicyResolved(resolve_all(state, Repository().add(first))))
    both = Repository().add([*first, *load_rules(RULES[:1])])
    _, operations = step(state, PolicyResolved(resolve_all(state, both)))
    assert isinstance(operations[0], ReplacePolicies)
    assert set(operations[0].policies) == {state.subjects[endpoint(0).identity].slot}


def test_a_newcomer_shares_the_large_map_of_its_like(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.step.SHARED_FROM", 10)
    datapath = MemoryDatapath()
    realize(datapath, diff(desired(fresh()), realized(datapath, 1)))
    many = [{"endpointSelector": {}, "egress": [{"toCIDR": [f"192.0.2.{number}" for number in range(10)]}]}]
    state = run(fresh(), datapath, NetworkPut(network(0)), EndpointPut(endpoint(0)))
    state = run(state, datapath, PolicyResolved(resolve_all(state, Repository().add(load_rules(many)))))
    state, operations = step(state, EndpointPut(endpoint(1, role="client")))
    realize(datapath, operations)
    kinds = [type(operation) for operation in operations]
    assert kinds.index(SharePolicy) < kinds.index(PutEndpoint)
    assert len(sharing(state, datapath)) == 1


def test_what_one_leaves_behind_is_emptied_before_another_has_its_slot() -> None:
    datapath = MemoryDatapath()
    realize(datapath, diff(desired(fresh()), realized(datapath, 1)))
    state = run(fresh(), datapath, SlotsWanted(), NetworkPut(network(0)), EndpointPut(endpoint(0)))
    slot = state.subjects[endpoint(0).identity].slot
    state = run(state, datapath, EndpointRemoved("e0"), EndpointPut(endpoint(1)))
    assert state.subjects[endpoint(1).identity].slot != slot
    state = run(state, datapath, SlotsWanted())
    assert datapath.policy(slot) == {}
    state = run(state, datapath, EndpointPut(endpoint(2, role="db")))
    assert state.subjects[endpoint(2, role="db").identity].slot == slot


def test_the_last_slots_are_emptied_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.slots.LAST_SLOT", 2)
    monkeypatch.setattr("agent.step.LAST_SLOT", 2)
    datapath = MemoryDatapath()
    realize(datapath, diff(desired(fresh()), realized(datapath, 1)))
    state = run(fresh(), datapath, NetworkPut(network(0)), EndpointPut(endpoint(0)),
                EndpointPut(endpoint(1, role="client")))  # fmt: skip
    with pytest.raises(Exhausted, match="map policies is full"):
        step(state, EndpointPut(endpoint(2, role="db")))
    state = run(state, datapath, EndpointRemoved("e0"), EndpointPut(endpoint(2, role="db")))
    assert diff(desired(state), realized(datapath, state.slots.fresh)) == []


def test_a_replica_of_known_labels_costs_its_own_entries_only() -> None:
    datapath = MemoryDatapath()
    state = run(fresh(), datapath, NetworkPut(network(0)), EndpointPut(endpoint(0)))
    _, operations = step(state, EndpointPut(endpoint(1)))
    assert [type(operation) for operation in operations] == [PutEndpoint, PutAddresses]


def test_policy_is_there_before_the_address_that_brings_the_identity() -> None:
    state, _ = step(fresh(), NetworkPut(network(0)))
    state, _ = step(state, SlotsWanted())
    _, operations = step(state, EndpointPut(endpoint(0)))
    kinds = [type(operation) for operation in operations]
    assert kinds.index(EditPolicies) < kinds.index(PutEndpoint) < kinds.index(PutAddresses)


def test_new_rules_are_published_together_and_end_what_they_forbid() -> None:
    datapath = MemoryDatapath()
    state = run(fresh(), datapath, NetworkPut(network(0)), EndpointPut(endpoint(0)),
                EndpointPut(endpoint(1, role="client")))  # fmt: skip
    rules = Repository().add(load_rules(RULES[:1]))
    _, operations = step(state, PolicyResolved(resolve_all(state, rules)))
    assert [type(operation) for operation in operations] == [ReplacePolicies, BumpEpoch]


def test_a_cidr_rule_makes_no_pool_address_known() -> None:
    rules = Repository().add(
        load_rules([{"endpointSelector": {}, "egress": [{"toCIDR": ["10.0.0.0/25", "10.0.0.0/8"]}]}])
    )
    state, _ = step(fresh(), NetworkPut(network(0)))
    state, _ = step(state, EndpointPut(endpoint(0)))
    state, _ = step(state, PolicyResolved(resolve_all(state, rules)))
    assert ip_network("10.0.0.0/25") not in state.ipcache.effective()
    assert state.ipcache.effective()[ip_network("10.0.0.0/8")].identity == state.cidrs.number(
        ip_network("10.0.0.0/8")
    )


def test_a_network_in_use_stays() -> None:
    state, _ = step(fresh(), NetworkPut(network(0)))
    state, _ = step(state, EndpointPut(endpoint(0)))
    with pytest.raises(Conflict):
        step(state, NetworkRemoved("n0"))


def test_an_endpoint_of_no_network_is_refused() -> None:
    with pytest.raises(NotFound):
        step(fresh(), EndpointPut(endpoint(0)))


def test_an_address_of_the_pool_without_an_endpoint_is_unknown() -> None:
    assert fresh().ipcache.effective()[ip_network("10.0.0.0/16")].identity == 0


def test_flows_of_an_endpoint_that_goes_are_ended_after_its_own_entry_is_gone() -> None:
    """Else one could be judged by the entry in between, and pass as a flow of whoever gets the address next."""
    state, _ = step(fresh(), NetworkPut(network(0)))
    state, _ = step(state, EndpointPut(endpoint(0)))
    _, operations = step(state, EndpointRemoved("e0"))
    kinds = [type(operation) for operation in operations]
    assert kinds.index(DeleteEndpoint) < kinds.index(BumpEpoch) == len(kinds) - 1


def test_an_identity_in_a_slot_that_was_not_prepared_gets_a_map_of_its_own() -> None:
    state, _ = step(fresh(), NetworkPut(network(0)))
    _, operations = step(state, EndpointPut(endpoint(0)))
    assert isinstance(operations[0], ReplacePolicies)


def test_rules_meet_who_came_while_they_were_resolved() -> None:
    """At the price of the newcomer: the others' maps are mended, not made again."""
    datapath = MemoryDatapath()
    realize(datapath, diff(desired(fresh()), realized(datapath, 1)))
    state = run(fresh(), datapath, NetworkPut(network(0)), EndpointPut(endpoint(0)))
    resolved = PolicyResolved(resolve_all(state, Repository().add(load_rules(RULES))))
    state = run(state, datapath, EndpointPut(endpoint(1, role="client")))
    state = run(state, datapath, resolved)
    assert diff(desired(state), realized(datapath, state.slots.fresh)) == []
    web = state.subjects[endpoint(0).identity].slot
    allowed = PolicyKey(Direction.INGRESS, endpoint(1, role="client").identity, 6, 80, 16)
    assert allowed in (datapath.policy(web) or {})


def test_rules_meet_who_left_while_they_were_resolved() -> None:
    datapath = MemoryDatapath()
    realize(datapath, diff(desired(fresh()), realized(datapath, 1)))
    client = endpoint(1, role="client")
    state = run(fresh(), datapath, NetworkPut(network(0)), EndpointPut(endpoint(0)), EndpointPut(client))
    resolved = PolicyResolved(resolve_all(state, Repository().add(load_rules(RULES))))
    state = run(state, datapath, EndpointRemoved(client.docker_id))
    state = run(state, datapath, resolved)
    assert diff(desired(state), realized(datapath, state.slots.fresh)) == []
    web = state.subjects[endpoint(0).identity].slot
    assert client.identity not in {key.identity for key in datapath.policy(web) or {}}


def test_audit_mode_marks_every_endpoint_and_ends_with_judging_anew() -> None:
    datapath = MemoryDatapath()
    state = run(fresh(), datapath, NetworkPut(network(0)), EndpointPut(endpoint(0)))
    state = run(state, datapath, EndpointPut(endpoint(1, linked=False)))
    state = run(state, datapath, EndpointPut(endpoint(2, role="client", audit=True)))

    def audited() -> list[bool]:
        entries = [entry for _, entry in sorted(datapath.endpoints.items())]
        addresses = [datapath.ipcache.get(prefix) for e in (0, 2) for prefix in endpoint(e).prefixes]
        assert [bool(entry and entry.flags & EndpointFlag.AUDIT) for entry in addresses[::2]] == [
            bool(entry.flags & EndpointFlag.AUDIT) for entry in entries
        ]
        return [bool(entry.flags & EndpointFlag.AUDIT) for entry in entries]

    assert audited() == [False, True]
    for audit, expected in ((True, [True, True]), (False, [False, True])):
        _, operations = step(state, AuditSet(audit))
        assert operations[-1] == BumpEpoch()
        state = run(state, datapath, AuditSet(audit))
        assert audited() == expected
        assert step(state, AuditSet(audit))[1] == []
    _, operations = step(state, EndpointPut(endpoint(2, role="client")))
    assert operations[-1] == BumpEpoch(), "also of one alone"
