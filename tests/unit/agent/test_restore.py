"""An agent may die at any instant. Whatever it left in records and kernel, the next one makes them agree, and changes
nothing that was right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.desired import desired, diff, realized
from agent.operations import BumpEpoch, Operation, PutEndpoint
from agent.operations import realize as realize_all
from agent.slots import LAST_SLOT
from datapath.memory import MemoryDatapath
from datapath.tables import EndpointEntry, IpcacheEntry
from model.endpoint import EndpointState
from model.errors import CiliateError, Exhausted
from model.flow import Direction
from model.identity import Reserved
from model.network import FIRST_NUMBER, FLAT, LOCAL_FIRST_NUMBER
from policy.mapstate import PolicyEntry, PolicyKey
from store.kv import Op
from store.memory import MemoryStore
from tests.unit.agent.node import KeptStore, Node, allow


class Killed(BaseException):
    """No handler runs: the process is gone."""


class Fuse:
    """Burns down with every write, of records and kernel alike, and then kills."""

    def __init__(self) -> None:
        self.left: int | None = None

    def burn(self) -> None:
        if self.left is not None:
            if self.left == 0:
                raise Killed
            self.left -= 1


class MortalStore(KeptStore):
    def __init__(self, store: MemoryStore, fuse: Fuse) -> None:
        super().__init__(store)
        self.fuse = fuse

    def transact(self, ops: Sequence[Op], *, durable: bool = True, token: str = "") -> int:
        self.fuse.burn()
        return super().transact(ops, durable=durable)


class MortalNode(Node):
    """One thread, so that death is death: what is submitted is taken at once."""

    def __init__(
        self, cluster: MortalStore, local: MortalStore, datapath: MemoryDatapath, **more: object
    ) -> None:
        super().__init__(cluster, local, datapath, **more)  # type: ignore[arg-type]
        fuse = local.fuse

        def realize(operations: Sequence[Operation]) -> None:
            for operation in operations:
                fuse.burn()
                realize_all(datapath, [operation])

        self.loop._realize = realize
        self.loop.call = lambda event, *_, **__: _at_once(self, event)  # type: ignore[method-assign]


def _at_once(node: Node, event: object) -> int:
    error = node.loop._take(event)  # type: ignore[arg-type]
    if error is not None:
        raise error
    return node.loop.revision


def agree(node: Node) -> None:
    # Beyond the slots that were ever given out anything may be left; who gets one of them gets a new map.
    assert diff(desired(node.state), realized(node.datapath, node.state.slots.fresh)) == []
    records = node.records.endpoints()
    assert records == dict(node.state.endpoints)
    assert node.records.networks() == dict(node.state.networks)
    held = {number: kept.uses for number, kept in node.identities._by_number.items() if kept.uses}
    wanted: dict[int, int] = {}
    for endpoint in records.values():
        if endpoint.ifindex:
            wanted[endpoint.identity] = wanted.get(endpoint.identity, 0) + 1
    assert held == wanted


doings = st.lists(
    st.tuples(
        st.sampled_from(["join", "relabel", "leave", "remove", "network", "rules"]),
        st.integers(0, 3),
        st.sampled_from(["web", "client", "db"]),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=120, deadline=None)
@given(doings, st.integers(0, 40))
def test_whenever_it_dies_the_next_one_agrees_with_the_kernel(
    happenings: list[tuple[str, int, str]], lifetime: int
) -> None:
    fuse = Fuse()
    cluster, local = MortalStore(MemoryStore(), fuse), MortalStore(MemoryStore(), fuse)
    node = MortalNode(cluster, local, MemoryDatapath())
    node.network()
    fuse.left = lifetime
    try:
        for what, number, role in happenings:
            try:
                do(node, what, number, role)
            except CiliateError:
                continue
    except Killed:
        pass
    fuse.left = None
    before = {
        endpoint.docker_id: endpoint for endpoint in node.records.endpoints().values() if endpoint.ifindex
    }
    epoch = node.datapath.bump_epoch()
    second = MortalNode(cluster, local, node.datapath, links=node.links)
    agree(second)
    assert {name: second.state.endpoints[name].identity for name in before} == {
        name: endpoint.identity for name, endpoint in before.items()
    }, "who was there is who he was"
    epoch = second.datapath.bump_epoch()
    third = MortalNode(cluster, local, second.datapath, links=second.links)
    assert third.datapath.bump_epoch() == epoch + 1, "a second start has nothing to put right"
    agree(third)


def do(node: Node, what: str, number: int, role: str) -> None:
    name = f"e{number}"
    match what:
        case "join" if name in node.realm.endpoints():
            node.relabel(name, role)
        case "join":
            node.join(number, role)
        case "relabel" if name in node.realm.endpoints():
            node.relabel(name, role)
        case "leave" if name in node.realm.endpoints():
            node.realm.put_endpoint(node.realm.endpoints()[name].unlinked())
        case "remove":
            node.realm.remove_endpoint(name)
        case "network" if "n1" in node.realm.networks():
            node.realm.remove_network("n1")
        case "network":
            node.network(1)
        case "rules":
            node.put(allow(role, "client"), wait=0.0)
            node.rules._apply(0)


@pytest.fixture
def settled() -> Node:
    """Two webs and a client under a rule; the agent has ended."""
    node = Node().start()
    node.network()
    for number, role in enumerate(["web", "web", "client"]):
        node.join(number, role)
    node.put(allow("web", "client"))
    node.stop()
    return node


def restarted(node: Node) -> Node:
    second = node.restarted()
    agree(second)
    return second


def slots(node: Node) -> dict[int, int]:
    return {identity: subject.slot for identity, subject in node.state.subjects.items()}


def test_a_start_after_a_clean_end_touches_nothing(settled: Node) -> None:
    epoch = settled.datapath.bump_epoch()
    second = restarted(settled)
    assert slots(second) == slots(settled)
    assert second.datapath.bump_epoch() == epoch + 1, "flows go on as they were judged"


def test_identities_keep_their_slots_whatever_order_the_records_have(settled: Node) -> None:
    """Entries in the kernel point there all the time."""
    first = restarted(settled).start()
    first.realm.remove_endpoint("e0")
    first.realm.remove_endpoint("e1")
    first.join(3, "db")
    first.join(4, "web")
    first.stop()
    assert slots(restarted(first)) == slots(first)


def test_what_the_kernel_forgot_is_put_back(settled: Node) -> None:
    datapath = settled.datapath
    web = settled.state.endpoints["e0"]
    datapath.endpoints.delete(web.ifindex)
    datapath.ipcache.delete(web.prefixes[0])
    datapath.replace_policies({settled.state.subjects[web.identity].slot: {}})
    restarted(settled)


def test_what_nobody_knows_of_goes_from_the_kernel(settled: Node) -> None:
    datapath = settled.datapath
    stranger = EndpointEntry(999, 2, 40, 0, None, None, 9, "02:42:00:00:00:09")
    datapath.endpoints.put(999, stranger)
    datapath.ipcache.put(ip_network("10.0.0.99"), IpcacheEntry(999, ifindex=999, policy=41))
    datapath.devices.put(999, 1)
    open_to_all = {PolicyKey(direction): PolicyEntry() for direction in Direction}
    datapath.replace_policies({40: open_to_all, 41: open_to_all, 7: open_to_all})
    second = restarted(settled)
    second.start()
    taken = {second.join(number, f"role{number}").identity for number in range(10, 60)}
    agree(second)
    assert len(taken) == 50
    second.stop()


@pytest.mark.parametrize(
    "claims",
    [
        {100: (300, 1), 101: (301, 1)},  # one slot, two identities
        {100: (300, 1), 101: (300, 2)},  # one identity, two slots
        {100: (256, 0)},
        {100: (4000, LAST_SLOT)},
    ],
)
def test_a_kernel_that_contradicts_itself_is_not_believed(
    settled: Node, claims: dict[int, tuple[int, int]]
) -> None:
    for ifindex, (identity, slot) in claims.items():
        entry = EndpointEntry(identity, 2, slot, 0, None, None, 1, "02:42:00:00:00:01")
        settled.datapath.endpoints.put(ifindex, entry)
    second = restarted(settled)
    second.start()
    second.join(9, "another")
    agree(second)
    second.stop()


def test_after_the_host_s_restart_nobody_is_linked(settled: Node) -> None:
    """Numbers of interfaces begin anew, and belong to others."""
    settled.links.clear()
    settled.links["eth0"] = 100
    second = Node(settled.cluster, settled.local, MemoryDatapath(), links=settled.links)
    agree(second)
    assert {endpoint.ifindex for endpoint in second.state.endpoints.values()} == {0}
    assert {endpoint.state for endpoint in second.state.endpoints.values()} == {EndpointState.CREATED}
    assert list(second.datapath.endpoints.items()) == []
    assert second.state.repository.rules(), "the rules are durable"


def test_labels_decide_where_the_store_has_lost_its_numbers(settled: Node) -> None:
    """Else a number of old would one day be another's."""
    fresh = MemoryStore()
    other = Node(fresh).start()
    other.network()
    other.join(0, "stranger")  # takes the first number
    other.stop()
    second = Node(fresh, settled.local, settled.datapath, links=settled.links)
    agree(second)
    labels = {number: subject.labels for number, subject in second.state.subjects.items()}
    for endpoint in second.state.endpoints.values():
        assert labels[endpoint.identity] == endpoint.labels
        assert second.identities.lookup(endpoint.identity) == endpoint.labels


def test_an_endpoint_without_a_network_is_forgotten(settled: Node) -> None:
    settled.records.put_endpoint(replace(settled.state.endpoints["e0"], docker_id="e9", network_id="gone"))
    second = restarted(settled)
    assert "e9" not in second.records.endpoints()


class NoNumbers(KeptStore):
    def transact(self, ops: Sequence[Op], *, durable: bool = True, token: str = "") -> int:
        raise Exhausted("all identities are in use")


def test_who_has_no_identity_to_be_had_is_denied_until_there_is_one(settled: Node) -> None:
    empty = NoNumbers(MemoryStore())
    second = Node(empty, settled.local, settled.datapath, links=settled.links)
    endpoint = second.state.endpoints["e0"]
    assert (endpoint.identity, endpoint.state) == (Reserved.INIT, EndpointState.WAITING_FOR_LABELS)
    assert dict(second.datapath.endpoints.items())[endpoint.ifindex].identity == Reserved.INIT


def test_putting_right_ends_with_judging_anew(settled: Node) -> None:
    have = realized(settled.datapath, settled.state.slots.fresh)
    want = desired(settled.state)
    operations = diff(want, replace(have, endpoints={}))
    assert {type(operation) for operation in operations[:-1]} == {PutEndpoint}
    assert operations[-1] == BumpEpoch()


def test_networks_have_numbers_of_their_kind_after_a_start(settled: Node) -> None:
    """Records may be from before there were two kinds, or from another store."""
    known = settled.records.networks()["n0"]
    settled.records.put_network(replace(known, number=2))
    settled.records.put_network(
        replace(known, docker_id="s", id="front", number=7, subnets=(), name="spanning")
    )
    settled.records.put_network(replace(known, docker_id="f", id="flat", number=FLAT, flat=True, subnets=()))
    second = restarted(settled)
    numbers = {network.docker_id: network.number for network in second.state.networks.values()}
    assert numbers["n0"] >= LOCAL_FIRST_NUMBER and numbers["f"] == FLAT
    assert numbers["s"] == second.numbers.number("front") == FIRST_NUMBER
    assert {one.docker_id: one.number for one in second.records.networks().values()} == numbers
    assert second.realm.new_network_number() > numbers["n0"]
