"""Several nodes over one store: what one is, the others know, and go on knowing while the store is away."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_network

import pytest

from agent.events import HostChanged
from agent.peers import GRACE_SECONDS
from datapath.tables import IpcacheEntry, NameKey
from driver.hostfacts import HostFacts
from model.errors import Unavailable
from model.identity import Reserved
from model.network import ELSEWHERE
from store.keys import HOLDER, IP, NODE, IPRecord
from store.kv import Delete, DeletePrefix, Entry, Health, Op, Set, Watch
from store.memory import MemoryStore
from tests.unit.agent.member import Member
from tests.unit.agent.node import KEYS, KeptStore, allow, until


class SharedStore(KeptStore):
    """A cluster's store: it may not answer, and ends sessions."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.is_away = False
        self.session = 1
        self.writes = 0

    def get(self, key: str) -> Entry | None:
        self._answer()
        return super().get(key)

    def list(self, prefix: str) -> list[Entry]:
        self._answer()
        return super().list(prefix)

    def transact(self, ops: Sequence[Op], *, durable: bool = True, token: str = "") -> int:
        self._answer()
        self.writes += 1
        return super().transact(ops, durable=durable)

    def watch(self, prefix: str, since: int = 0) -> Watch:
        return _Watch(self, super().watch(prefix, since))

    def health(self) -> Health:
        return Health(self.session, "it is away" if self.is_away else "")

    def end_session(self, node: str) -> None:
        self.inner.transact([Delete(KEYS.node(node)), DeletePrefix(KEYS.ips(node))])

    def _answer(self) -> None:
        if self.is_away:
            raise Unavailable("the store does not answer")


class _Watch:
    def __init__(self, store: SharedStore, watch: Watch) -> None:
        self._store = store
        self._watch = watch

    def next(self, timeout: float | None = None) -> object:
        self._store._answer()
        return self._watch.next(timeout)

    def __iter__(self) -> Iterator[object]:
        return iter(self._watch)

    def close(self) -> None:
        self._watch.close()


@pytest.fixture
def store() -> SharedStore:
    return SharedStore(MemoryStore())


@pytest.fixture
def member(store: SharedStore) -> Iterator[Callable[[str], Member]]:
    made: list[Member] = []

    def make(name: str) -> Member:
        node = Member(store, name=name).start()
        made.append(node)
        node.network(node.number)
        return node

    yield make
    for node in made:
        node.stop()


@pytest.fixture
def pair(member: Callable[[str], Member]) -> tuple[Member, Member]:
    """Node two has a container."""
    one, two = member("one"), member("two")
    two.join(0, "web", in_network=1)
    two.go()
    one.go()
    return one, two


def test_a_container_is_known_to_the_others_by_its_address(pair: tuple[Member, Member]) -> None:
    one, two = pair
    assert one.knows(two, 0)
    entry = one.entry("10.1.0.5")
    assert entry is not None and entry.network == ELSEWHERE, "its network is its own host's alone"
    node = one.entry("192.0.2.1")
    assert node == IpcacheEntry(int(Reserved.REMOTE_NODE), tunnel=IPv4Address("192.0.2.1"))
    two.realm.remove_endpoint("e0")
    two.go()
    one.go()
    assert one.entry("10.1.0.5") is None and not one.state.remote


def test_one_start_is_one_write_and_nothing_new_is_none(
    pair: tuple[Member, Member], store: SharedStore
) -> None:
    _, two = pair
    two.join(1, "web", in_network=1)
    before = store.writes
    two.publisher.publish()
    two.publisher.publish()
    assert store.writes == before + 1


def test_many_at_once_are_told_in_parts_of_what_a_transaction_holds(pair: tuple[Member, Member]) -> None:
    one, two = pair
    for number in range(1, 150):
        two.join(number, f"r{number % 3}", in_network=1)
    two.go()
    one.go()
    assert all(one.knows(two, number) for number in range(150))


def test_who_waits_for_labels_is_told_of_to_nobody(pair: tuple[Member, Member], store: SharedStore) -> None:
    _, two = pair
    two.realm.put_endpoint(two.realm.endpoints()["e0"].unlinked())
    two.go()
    assert store.list(KEYS.ips("two")) == []


def test_a_node_that_vanished_is_known_for_ten_minutes(
    pair: tuple[Member, Member], store: SharedStore
) -> None:
    one, two = pair
    store.end_session("two")
    one.hear()
    one.now += GRACE_SECONDS - 1
    one.hear()
    assert one.knows(two, 0) and list(one.peers.left()) == ["two"]
    one.now += 2
    one.hear()
    assert one.entry("10.1.0.5") is None and one.entry("192.0.2.1") is None
    found = one.datapath.ipcache.find(ip_address("10.1.0.5"))
    assert found is not None and found.identity == Reserved.UNKNOWN, "its slice is still its own"
    store.inner.transact([Delete(KEYS.slice(ip_network("10.1.0.0/24")))])
    one.now += 100
    one.hear()
    one.hear()
    assert not one.state.nodes and not one.peers.left()


def test_a_node_that_comes_back_in_time_was_never_away(
    pair: tuple[Member, Member], store: SharedStore
) -> None:
    one, two = pair
    revision = one.loop.revision
    store.end_session("two")
    one.hear()
    store.session += 1
    two.go()
    one.hear()
    assert one.knows(two, 0) and one.peers.left() == {}
    assert one.loop.revision == revision, "nothing happened"


def test_what_is_put_back_in_parts_is_not_taken_for_the_whole(
    pair: tuple[Member, Member], store: SharedStore
) -> None:
    one, two = pair
    for number in range(1, 100):
        two.join(number, "web", in_network=1)
    two.go()
    one.go()
    store.end_session("two")
    store.session += 1
    transact = store.transact
    revision = one.loop.revision

    def watched(ops: Sequence[Op], *, durable: bool = True, token: str = "") -> int:
        index = transact(ops, durable=durable)
        one.hear()
        return index

    store.transact = watched  # type: ignore[method-assign]
    two.publisher.publish()
    one.hear()
    assert one.loop.revision == revision


def test_a_lost_watch_ends_in_what_there_is(pair: tuple[Member, Member], store: SharedStore) -> None:
    one, two = pair
    assert isinstance(store.inner, MemoryStore)
    two.join(1, "db", in_network=1)
    two.realm.remove_endpoint("e0")
    two.publisher.publish()
    one.peers._watch = store.watch(KEYS.nodes())
    one.hear()
    assert one.knows(two, 1) and one.entry("10.1.0.5") is None


def test_a_store_that_is_away_takes_nothing_away(pair: tuple[Member, Member], store: SharedStore) -> None:
    one, two = pair
    store.is_away = True
    one.now += 10 * GRACE_SECONDS
    for act in (one.hear, two.publisher.publish):
        if act == two.publisher.publish:
            two.realm.remove_endpoint("e0")
        with pytest.raises(Unavailable):
            act()
    assert one.entry("10.1.0.5") is not None
    store.is_away = False
    two.go()
    one.go()
    assert one.entry("10.1.0.5") is None


def test_a_restart_while_the_store_is_away_knows_whom_the_node_knew(
    pair: tuple[Member, Member], store: SharedStore
) -> None:
    one, two = pair
    one.now += 100
    one.hear()
    epoch = one.datapath.bump_epoch()
    one.stop()
    again = one.restarted()
    assert isinstance(again, Member)
    assert again.knows(two, 0)
    assert again.datapath.bump_epoch() == epoch + 1, "nothing was to be put right"
    again.start().hear()
    assert again.knows(two, 0)
    again.stop()


def test_a_start_without_the_store_takes_no_container_its_identity(
    member: Callable[[str], Member], store: SharedStore
) -> None:
    one = member("one")
    one.put(allow("web", "client"))
    web = one.join(0, "web", in_network=0)
    epoch = one.datapath.bump_epoch()
    one.stop()
    store.is_away = True
    again = one.restarted().start()
    assert again.state.endpoints["e0"].identity == web.identity
    assert again.rules.problem, "the rules are those of before"
    assert again.datapath.bump_epoch() == epoch + 1, "nothing was to be put right"
    assert again.join(1, "web", in_network=0).identity == web.identity
    store.is_away = False
    until(lambda: not again.rules.problem)
    assert again.identities.refresh() == []
    again.stop()


def test_an_address_is_believed_of_the_node_that_has_its_slice_alone(
    pair: tuple[Member, Member], store: SharedStore
) -> None:
    one, two = pair
    identity = two.realm.endpoints()["e0"].identity
    liar = NODE.encode(two.publisher.record)  # type: ignore[arg-type]
    said = {
        "10.1.0.5/32": IPRecord(identity, 1),
        "10.0.0.5/32": IPRecord(identity, 1),
        "198.51.100.7/32": IPRecord(identity, 1),
        "10.2.0.0/24": IPRecord(identity, 1),
        "10.2.0.6/32": IPRecord(int(Reserved.HOST), 1),
        "10.2.0.7/32": IPRecord(identity, 0),
        "10.2.0.8/32": IPRecord(identity, 1),
    }
    store.transact(
        [
            Set(KEYS.slice(ip_network("10.2.0.0/24")), HOLDER.encode("three")),
            Set(KEYS.node("three"), liar),
            *(Set(KEYS.ips("three") + prefix, IP.encode(record)) for prefix, record in said.items()),
            Set(KEYS.ips("three") + "nonsense", b"{}"),
        ]
    )
    one.hear()
    assert [str(prefix) for prefix in one.state.nodes["three"].ips] == ["10.2.0.8/32"]
    assert one.knows(two, 0)


def test_a_slice_that_changes_hands_takes_its_addresses_from_whom_it_was(
    pair: tuple[Member, Member], member: Callable[[str], Member], store: SharedStore
) -> None:
    one, _ = pair
    three = member("three")
    slice = ip_network("10.1.0.0/24")
    store.end_session("two")
    one.hear()
    store.inner.transact([Set(KEYS.slice(slice), HOLDER.encode("three"))])
    three.slices = lambda: [ip_network("10.2.0.0/24"), slice]  # type: ignore[method-assign]
    three.publisher._slices = three.slices
    three.network(1)
    three.join(0, "db", in_network=1)
    three.go()
    one.hear()
    entry = one.entry("10.1.0.5")
    assert entry is not None and entry.tunnel == IPv4Address("192.0.2.2")
    assert not one.state.nodes["two"].ips and slice not in one.state.nodes["two"].slices


def test_labels_that_are_not_there_yet_are_waited_for(
    pair: tuple[Member, Member], store: SharedStore
) -> None:
    one, two = pair
    two.join(1, "db", in_network=1)
    identity = KEYS.identity(two.realm.endpoints()["e1"].identity)
    entry = store.get(identity)
    assert entry is not None
    store.inner.transact([Delete(identity)])
    two.go()
    one.go()
    assert one.knows(two, 0) and one.entry("10.1.0.6") is None
    store.inner.transact([Set(identity, entry.value)])
    one.hear()
    assert one.knows(two, 1)


def test_rules_hold_for_containers_of_other_nodes(pair: tuple[Member, Member]) -> None:
    one, two = pair
    one.join(0, "db", in_network=0)
    one.put(allow("db", "web"))
    web = two.realm.endpoints()["e0"].identity
    slot = one.state.subjects[one.realm.endpoints()["e0"].identity].slot
    assert web in {key.identity for key in one.datapath.policy(slot) or {}}


def test_names_in_a_network_that_spans_nodes_are_known_to_all_and_end_with_the_container(
    pair: tuple[Member, Member],
) -> None:
    one, two = pair
    two.aliases = {"c0": ["Web", "a" * 70]}
    before = two.realm.endpoints()["e0"]
    two.realm.put_endpoint(replace(before, container_id="c0", container_name="shop-web-1"))
    two.go()
    one.hear()
    assert not one.state.names, "the network is its host's alone"

    two.realm.put_network(replace(two.realm.networks()["n1"], number=7))
    two.go()
    one.hear()
    where = (ip_address("10.1.0.5"),)
    expected = {NameKey(7, "shop-web-1"): where, NameKey(7, "web"): where}
    assert dict(one.datapath.names.items()) == expected
    one.now += 100
    one.hear()
    assert dict(one.restarted().state.names) == expected

    two.realm.remove_endpoint("e0")
    two.go()
    one.hear()
    assert dict(one.datapath.names.items()) == {}


def test_threads_do_it_by_themselves(member: Callable[[str], Member], store: SharedStore) -> None:
    one, two = member("one"), member("two")
    running = [one.publisher, one.peers, two.publisher, two.peers]
    for each in running:
        each.start()
    two.join(0, "web", in_network=1)
    until(lambda: one.knows(two, 0))
    store.is_away = True
    two.join(1, "web", in_network=1)
    until(lambda: two.publisher.problem and one.peers.problem)
    store.is_away = False
    until(lambda: one.knows(two, 1) and not two.publisher.problem and not one.peers.problem)
    for each in running:
        each.stop()
    assert one.peer_store.nodes().keys() == {"two"}


def test_a_node_that_nobody_could_reach_says_so(pair: tuple[Member, Member], store: SharedStore) -> None:
    _, two = pair
    two.loop.call(HostChanged(HostFacts(outer=(ip_address("2001:db8::1"),))))
    told = store.list(KEYS.ips("two"))
    two.publisher.publish()
    assert "set CILIATE_NODE_IP" in two.publisher.problem
    assert store.list(KEYS.ips("two")) == told, "what others know stays"
    two.loop.call(HostChanged(two.facts()))
    two.publisher.publish()
    assert two.publisher.problem == ""
