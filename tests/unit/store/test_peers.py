"""What a node remembers of the others comes back as it was."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address, ip_network

from model.labels import Labels
from model.network import ELSEWHERE
from store.keys import IPRecord
from store.memory import MemoryStore
from store.peers import PeerRecord, PeerStore

WEB = Labels.parse(["container:app=web"])
PEER = PeerRecord(
    (ip_address("192.0.2.1"), ip_address("2001:db8::1")),
    IPv4Address("192.0.2.1"),
    (ip_network("10.200.1.0/24"), ip_network("fd00::/64")),
    {
        ip_network("10.200.1.2"): IPRecord(256, 2),
        ip_network("10.200.1.3"): IPRecord(256, 2),
        ip_network("fd00::2"): IPRecord(257, ELSEWHERE),
    },
)


def test_nodes_and_labels_come_back() -> None:
    store = MemoryStore()
    gone = PeerRecord(slices=(ip_network("10.200.9.0/24"),))
    PeerStore(store).keep({"one": PEER, "two": gone}, {256: WEB, 257: Labels()})
    again = PeerStore(store)
    assert again.nodes() == {"one": PEER, "two": gone}
    assert again.labels() == {256: WEB, 257: Labels()}
    again.keep({"two": None}, {257: None})
    assert again.nodes().keys() == {"one"} and again.labels() == {256: WEB}


def test_more_than_one_transaction_holds_is_kept_too() -> None:
    store = PeerStore(MemoryStore())
    store.keep({f"n{number}": PEER for number in range(70)}, dict.fromkeys(range(256, 456), WEB))
    assert len(store.nodes()) == 70 and len(store.labels()) == 200
