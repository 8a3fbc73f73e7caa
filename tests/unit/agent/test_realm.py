"""What the driver puts is recorded and in force, or neither; and every identity is held by its endpoints alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.realm import LAST_ENDPOINT
from datapath.memory import MemoryDatapath
from model.endpoint import Endpoint, PublishedPort
from model.errors import CiliateError, Conflict, Exhausted, Unavailable
from model.identity import is_cluster
from model.labels import Labels
from store.kv import Op
from store.memory import MemoryStore
from tests.unit.agent.node import KeptStore, Node


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node().start()
    node.network()
    yield node
    node.stop()


def uses(node: Node) -> Counter[int]:
    """How often each identity is held."""
    held = node.identities._by_number.items()
    return Counter({number: kept.uses for number, kept in held if kept.uses})


def wanted(node: Node) -> Counter[int]:
    return Counter(e.identity for e in node.state.endpoints.values() if is_cluster(e.identity))


class FullDisk(KeptStore):
    """Refuses to write while `full`."""

    full = False

    def transact(self, ops: Sequence[Op], *, durable: bool = True, token: str = "") -> int:
        if self.full:
            raise Unavailable("the disk is full")
        return super().transact(ops, durable=durable)


steps = st.lists(
    st.tuples(
        st.sampled_from(["create", "join", "relabel", "publish", "leave", "remove", "full", "restart"]),
        st.integers(0, 3),
        st.sampled_from(["web", "client", "db"]),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_an_identity_is_held_once_for_each_endpoint_that_has_it(
    happenings: list[tuple[str, int, str]],
) -> None:
    disk = FullDisk(MemoryStore())
    node = Node(local=disk, datapath=MemoryDatapath({"endpoints": 3})).start()
    node.network()
    for what, number, role in happenings:
        name = f"e{number}"
        known = node.realm.endpoints().get(name)
        try:
            if what == "create" and known is None:
                node.realm.put_endpoint(bare(node, number))
            elif what in ("join", "relabel") and known is not None:
                node.relabel(name, role)
            elif what == "publish" and known is not None and known.ifindex:
                port = PublishedPort("tcp", IPv4Address("0.0.0.0"), 8080, 80)
                node.realm.put_endpoint(replace(known, ports=() if known.ports else (port,)))
            elif what == "leave" and known is not None:
                node.realm.put_endpoint(known.unlinked())
            elif what == "remove":
                node.realm.remove_endpoint(name)
            elif what == "full":
                disk.full = not disk.full
            elif what == "restart":
                disk.full = False
                node.stop()
                node = node.restarted().start()
        except CiliateError:
            pass
        assert uses(node) == wanted(node)
        if not disk.full:
            recorded = node.records.endpoints()
            assert {name: recorded.get(name) for name in node.state.endpoints} == dict(node.state.endpoints)
    node.stop()


def bare(node: Node, number: int) -> Endpoint:
    address = IPv4Address(f"10.0.0.{number + 5}")
    return Endpoint(node.realm.new_endpoint_id(), f"e{number}", "n0", "02:42:00:00:00:01", ipv4=address)


def test_endpoints_that_come_and_go_at_once_leave_no_count_behind(node: Node) -> None:
    """A put of one endpoint never takes what another has asked for."""

    def live(number: int) -> None:
        for turn in range(15):
            node.join(number, ["web", "client"][(number + turn) % 2])
            endpoint = node.realm.endpoints()[f"e{number}"]
            node.realm.put_endpoint(replace(endpoint, container_name=f"c{turn}"))
            node.relabel(f"e{number}", "web")
            if turn % 3:
                node.realm.remove_endpoint(f"e{number}")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(live, range(8)))
    assert uses(node) == wanted(node)
    for number in range(8):
        node.realm.remove_endpoint(f"e{number}")
    assert uses(node) == Counter()
    assert node.realm._taken == set()


def test_an_identity_that_was_asked_for_is_good_for_two_looks(node: Node) -> None:
    number = node.realm.identify(Labels.parse(["container:role=web", "network:id=n0"]))
    node.identities.collect()
    assert node.join(0, "web").identity == number
    for _ in range(4):
        node.identities.collect()
    assert node.identities.lookup(number) is not None


def test_one_that_nobody_uses_goes(node: Node) -> None:
    endpoint = node.join(0, "web")
    node.realm.remove_endpoint("e0")
    for _ in range(5):
        node.identities.collect()
    assert node.identities.lookup(endpoint.identity) is None
    assert uses(node) == Counter()


def test_what_the_kernel_refuses_leaves_no_record_and_no_number(node: Node) -> None:
    full = Node(datapath=MemoryDatapath({"endpoints": 1})).start()
    full.network()
    full.join(0, "web")
    with pytest.raises(Exhausted):
        full.join(1, "web")
    left = full.records.endpoints()["e1"]
    assert (left.ifindex, left.labels) == (0, Labels()), "as it was before its Join"
    full.realm.remove_endpoint("e1")
    assert full.records.endpoints().keys() == {"e0"}
    assert uses(full) == wanted(full)
    full.stop()


def test_a_refused_change_of_a_network_leaves_the_network(node: Node) -> None:
    network = node.realm.networks()["n0"]
    node.loop.stop()
    with pytest.raises(Unavailable):
        node.realm.put_network(replace(network, name="renamed"))
    assert node.records.networks() == {"n0": network}
    with pytest.raises(Unavailable):
        node.realm.put_network(replace(network, docker_id="n9"))
    assert node.records.networks() == {"n0": network}


def test_a_network_in_use_stays(node: Node) -> None:
    node.join(0, "web")
    with pytest.raises(Conflict):
        node.realm.remove_network("n0")
    node.realm.remove_endpoint("e0")
    for _ in range(2):
        node.realm.remove_network("n0")
    assert node.records.networks() == {}


def test_numbers_are_given_out_in_turn(node: Node) -> None:
    first, second = node.join(0, "web").id, node.join(1, "web").id
    node.realm.remove_endpoint("e0")
    assert [first, second, node.join(2, "web").id] == [1, 2, 3]
    assert node.realm.new_network_number() == node.realm.networks()["n0"].number + 1
    node.realm._last_endpoint = LAST_ENDPOINT
    assert node.realm.new_endpoint_id() == 1


def test_a_full_host_says_so(node: Node) -> None:
    node.realm._taken = set(range(1, LAST_ENDPOINT + 1))
    with pytest.raises(Exhausted):
        node.realm.new_endpoint_id()


def test_an_endpoint_s_story_is_kept_as_long_as_the_endpoint(node: Node) -> None:
    node.join(0, "web")
    node.relabel("e0", "db")
    texts = [line["text"] for line in node.journal.lines("e0")]
    assert len(texts) == 3
    assert texts[0] == "created with 10.0.0.5"
    assert "linked as cle0" in texts[1] and "role=web" in texts[1]
    assert "role=db" in texts[2]
    node.realm.remove_endpoint("e0")
    assert node.journal.lines("e0") == []
