"""The paths and values of the cluster's store."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address, ip_network

import pytest

from model.errors import InvalidInput, Unavailable, Unsupported
from model.labels import Label, Labels
from store.codec import Codec
from store.keys import (
    HOLDER,
    IDENTITY,
    IP,
    MARK,
    NODE,
    NUMBER,
    RULES,
    IdentityRecord,
    IPRecord,
    Keys,
    NodeRecord,
    RulesRecord,
)
from store.kv import Entry

KEYS = Keys("prod")
LABELS = Labels.parse(["container:app=web", "network:id=front"])


def test_paths_are_those_that_access_rules_are_written_for() -> None:
    assert KEYS.identity(256) == "ciliate/prod/identities/id/256"
    assert KEYS.identity_value(LABELS).startswith("ciliate/prod/identities/value/")
    assert len(KEYS.identity_value(LABELS).rpartition("/")[2]) == 64
    assert KEYS.identity_reference("n1", 256) == "ciliate/prod/identities/refs/n1/256"
    assert KEYS.node("n1") == "ciliate/prod/nodes/n1"
    assert KEYS.ip("n1", ip_network("10.0.0.1/32")) == "ciliate/prod/ips/n1/10.0.0.1/32"
    assert KEYS.network("front") == "ciliate/prod/networks/front"
    assert KEYS.pool("n1", ip_network("fd00::/64")) == "ciliate/prod/pools/n1/fd00::/64"
    assert KEYS.slice(ip_network("10.200.1.0/24")) == "ciliate/prod/slices/10.200.1.0/24"
    assert KEYS.policy("base") == "ciliate/prod/policies/base"
    assert KEYS.lock("slices") == "ciliate/prod/lock/slices"


def test_a_prefix_of_one_node_is_no_prefix_of_another() -> None:
    assert not KEYS.identity_reference("n10", 256).startswith(KEYS.identity_references("n1"))
    assert not KEYS.pool("n10", ip_network("10.0.0.0/24")).startswith(KEYS.pools("n1"))
    assert KEYS.ip("n10", ip_network("10.0.0.1/32")).startswith(KEYS.ips())


@pytest.mark.parametrize("bad", ["", "a/b", "../x", "a b", "-a", "ü", "a" * 254])
def test_names_that_would_leave_their_place_are_refused(bad: str) -> None:
    for make in (KEYS.policy, KEYS.node, KEYS.network, KEYS.lock, lambda bad: Keys(bad).root):
        with pytest.raises(InvalidInput, match="no name"):
            make(bad)


def test_the_hash_of_labels_ignores_their_order_and_nothing_else() -> None:
    assert KEYS.identity_value(LABELS) == KEYS.identity_value(Labels(reversed(list(LABELS))))
    one = Labels([Label("container", "a", "b=c")])
    other = Labels([Label("container", "a=b", "c")])
    assert one.texts() == other.texts()
    assert KEYS.identity_value(one) != KEYS.identity_value(other)


@pytest.mark.parametrize(
    ("codec", "value"),
    [
        (IDENTITY, IdentityRecord(LABELS)),
        (IDENTITY, IdentityRecord(Labels([Label("container", "a=b", "c\nd")]), condemned=1700000000)),
        (NUMBER, 65535),
        (MARK, None),
        (NODE, NodeRecord((ip_address("192.0.2.1"), ip_address("2001:db8::1")), IPv4Address("192.0.2.1"))),
        (NODE, NodeRecord((), IPv4Address("192.0.2.1"), (ip_network("10.200.1.0/24"),), 7)),
        (IP, IPRecord(identity=256, network=2)),
        (HOLDER, "n1"),
        (RULES, RulesRecord(({"endpointSelector": {}}, {"ingress": [{}]}))),
        (RULES, RulesRecord((), "/etc/policies")),
        (RULES, RulesRecord((), audit=True)),
    ],
)
def test_every_value_comes_back_as_it_was(codec: Codec[object], value: object) -> None:
    text = codec.encode(value)
    assert text.startswith(b'{"v":1')
    assert codec.decode(Entry("k", text, 1)) == value


def test_an_unknown_version_is_refused_by_name() -> None:
    with pytest.raises(Unsupported) as caught:
        NUMBER.decode(Entry("ciliate/prod/networks/n", b'{"v":2,"id":7}', 1))
    assert "ciliate/prod/networks/n has version 2, and this ciliate knows 1" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "text", [b"", b"\xff", b"7", b"[]", b"{}", b'{"v":1}', b'{"v":1,"id":"7"}', b'{"v":1,"id":true}']
)
def test_a_damaged_value_is_an_error_that_names_its_key(text: bytes) -> None:
    with pytest.raises((Unavailable, Unsupported), match="the-key"):
        NUMBER.decode(Entry("the-key", text, 1))
