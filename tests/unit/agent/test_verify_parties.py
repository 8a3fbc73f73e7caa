"""Who is at an address, by the facts alone."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from agent.verify_parties import Parties
from agent.verify_report import Probe
from datapath.tables import NodeEntry, Routing
from identity.cidr import CidrIdentities
from model.identity import Reserved
from tests.unit.agent.verified import DB, FACTS, TUNNEL, UPLINK, WEB

CIDRS, _, _ = CidrIdentities().with_prefixes([ip_network("203.0.113.0/24"), ip_network("203.0.0.0/16")])

parties = Parties(FACTS, CIDRS)


@pytest.mark.parametrize(
    ("address", "identity"),
    [
        ("10.200.1.99", Reserved.UNKNOWN),
        ("10.200.9.2", 257),
        ("192.0.2.9", Reserved.REMOTE_NODE),
        ("10.200.1.1", Reserved.HOST),
        ("172.17.0.1", Reserved.HOST),
        ("172.17.0.2", Reserved.UNMANAGED),
        ("198.51.100.1", Reserved.WORLD_IPV4),
        ("2001:db8::1", Reserved.WORLD_IPV6),
        ("203.0.113.9", CIDRS.number(ip_network("203.0.113.0/24"))),
        ("203.0.112.255", CIDRS.number(ip_network("203.0.0.0/16"))),
    ],
)
def test_the_longest_prefix_says_who_an_address_is(address: str, identity: int) -> None:
    found = parties.stranger(ip_address(address))
    assert found and found.identity == identity


@pytest.mark.parametrize(
    "address",
    ["10.200.1.2", "224.0.0.1", "0.1.2.3", "127.0.0.1", "255.255.255.255", "::1", "fe80::1", "ff02::1"],
)
def test_a_containers_address_is_no_strangers_and_some_are_nobodys(address: str) -> None:
    assert parties.stranger(ip_address(address)) is None


def test_an_address_of_the_world_has_a_label_of_its_own() -> None:
    found = parties.stranger(ip_address("203.0.113.9"))
    assert found and found.labels.texts() == ["cidr:203.0.113.9/32", "reserved:world", "reserved:world-ipv4"]


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("192.0.2.1", 0),
        ("198.51.100.1", UPLINK),
        ("172.17.0.2", 1),
        ("10.200.1.99", None),
        ("192.0.2.9", UPLINK),
        ("10.200.9.2", TUNNEL),
    ],
)
def test_packets_come_by_the_interface_that_tells_who_sent_them(address: str, origin: int | None) -> None:
    stranger = parties.stranger(ip_address(address))
    assert stranger and parties.origin(stranger) == origin


@pytest.mark.parametrize(
    ("node", "origin", "published"),
    [
        (FACTS.node, TUNNEL, True),
        (NodeEntry(Routing.NATIVE), UPLINK, False),
        (NodeEntry(), None, False),
    ],
)
def test_another_nodes_containers_come_as_routing_brings_them(
    node: NodeEntry, origin: int | None, published: bool
) -> None:
    meeting = Parties(replace(FACTS, node=node), CIDRS).meet(Probe(ip_address("10.200.9.2"), 1, 4, 6, 80))
    found = None if meeting is None else (meeting.origin, meeting.published)
    assert found == (None if origin is None else (origin, published))


def test_without_an_uplink_nothing_comes_from_the_world() -> None:
    cut_off = Parties(replace(FACTS, uplinks=()), CIDRS)
    assert cut_off.meet(Probe(ip_address("198.51.100.1"), 1, 4, 6, 80)) is None
    assert cut_off.meet(Probe(1, ip_address("198.51.100.1"), 4, 6, 80)) is not None


def test_containers_meet_by_their_own_interfaces_or_through_a_published_port() -> None:
    direct = parties.meet(Probe(1, 2, 6, 6, 80))
    assert direct and (direct.source.container, direct.destination.container) == (WEB, DB)
    assert (direct.origin, str(direct.source.address)) == (None, "fd00::2")
    published = parties.meet(Probe(1, 2, 6, 6, 80, published=True))
    assert published and published.origin == WEB.ifindex


def test_who_is_gone_meets_nobody() -> None:
    assert parties.meet(Probe(1, 9, 4, 6, 80)) is None
    assert parties.meet(Probe(1, 3, 6, 6, 80)) is None, "it has no address of this family"
