"""Numbers for the prefixes that rules name."""

from __future__ import annotations

import time
from ipaddress import IPv4Network, IPv6Network, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from identity.cidr import CidrIdentities, labels_of
from model.identity import LOCAL_FIRST, LOCAL_LAST, Reserved, is_local
from model.network import IPNetwork

OFFICE, HOME = ip_network("192.0.2.0/24"), ip_network("198.51.100.7/32")
OFFICE6 = ip_network("2001:db8::/32")
WORLD, WORLD6 = ip_network("0.0.0.0/0"), ip_network("::/0")


def test_a_prefix_keeps_its_number_while_it_is_wanted() -> None:
    first, added, removed = CidrIdentities().with_prefixes({OFFICE})
    assert added == {LOCAL_FIRST: labels_of(OFFICE)} and removed == {}
    second, added, removed = first.with_prefixes({OFFICE, HOME})
    assert second.number(OFFICE) == first.number(OFFICE)
    assert added == {second.number(HOME): labels_of(HOME)} and removed == {}
    third, added, removed = second.with_prefixes({HOME})
    assert added == {} and removed == {first.number(OFFICE): OFFICE}
    with pytest.raises(KeyError):
        third.number(OFFICE)


def test_nothing_changes_if_the_same_is_wanted() -> None:
    once, _, _ = CidrIdentities().with_prefixes([OFFICE, OFFICE6])
    again, added, removed = once.with_prefixes([OFFICE6, OFFICE, OFFICE])
    assert (added, removed) == ({}, {}) and dict(again.items()) == dict(once.items())


def test_a_number_is_not_given_again_at_once() -> None:
    table, _, _ = CidrIdentities().with_prefixes({OFFICE})
    gone = table.number(OFFICE)
    for prefix in (HOME, OFFICE, HOME):
        table, _, _ = table.with_prefixes({prefix})
        assert table.number(prefix) > gone


def test_numbers_go_around_past_those_in_use() -> None:
    table, _, _ = CidrIdentities().with_prefixes({OFFICE})
    table, _, _ = CidrIdentities(table.numbers, LOCAL_LAST).with_prefixes({OFFICE, HOME, OFFICE6})
    assert {number for _, number in table.items()} == {LOCAL_FIRST, LOCAL_LAST, LOCAL_FIRST + 1}


def test_the_world_has_numbers_already() -> None:
    table, added, _ = CidrIdentities().with_prefixes({WORLD, WORLD6})
    assert added == {} and list(table.items()) == []
    assert table.number(WORLD) == Reserved.WORLD_IPV4 and table.number(WORLD6) == Reserved.WORLD_IPV6


@pytest.mark.parametrize(
    ("prefix", "labels"),
    [
        (OFFICE, {"cidr:192.0.2.0/24", "reserved:world", "reserved:world-ipv4"}),
        (OFFICE6, {"cidr:2001:db8::/32", "reserved:world", "reserved:world-ipv6"}),
        (WORLD, {"reserved:world", "reserved:world-ipv4"}),
        (WORLD6, {"reserved:world", "reserved:world-ipv6"}),
    ],
)
def test_a_prefix_is_a_part_of_the_world(prefix: IPNetwork, labels: set[str]) -> None:
    assert set(labels_of(prefix).texts()) == labels


PREFIXES = st.sets(
    st.one_of(
        st.builds(
            lambda first, length: IPv4Network((first << 28, length), strict=False),
            st.integers(0, 15),
            st.integers(0, 6),
        ),
        st.builds(
            lambda first, length: IPv6Network((first << 124, length), strict=False),
            st.integers(0, 15),
            st.integers(0, 6),
        ),
    ),
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(PREFIXES, max_size=6))
def test_whatever_is_wanted_in_turn(wishes: list[set[IPNetwork]]) -> None:
    table = CidrIdentities()
    known: dict[int, IPNetwork] = {}
    for wanted in wishes:
        table, added, removed = table.with_prefixes(wanted)
        assert not added.keys() & known.keys() and removed.items() <= known.items()
        known = {number: prefix for number, prefix in known.items() if number not in removed}
        known |= {number: prefix for prefix, number in table.items() if number in added}
        assert known == {number: prefix for prefix, number in table.items()}
        assert set(known.values()) == {prefix for prefix in wanted if prefix.prefixlen}
        assert all(is_local(number) for number in known)
        assert all(labels == labels_of(known[number]) for number, labels in added.items())


def test_ten_thousand_prefixes_are_quick() -> None:
    wanted = {ip_network((0x0B000000 + 256 * number, 24)) for number in range(10_000)}
    begun = time.process_time()
    table, added, _ = CidrIdentities().with_prefixes(wanted)
    took = time.process_time() - begun
    assert len(added) == 10_000 and len(set(added)) == len(dict(table.items()))
    assert took < 1, "linear; 0.1 s on an idle machine"
