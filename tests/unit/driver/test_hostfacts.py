from __future__ import annotations

from ipaddress import ip_interface, ip_network

import pytest

from driver.hostfacts import Address, HostFacts, Link, Route, classify
from driver.plan import DEVICE_GROUP, GATEWAY_DEVICE

LO = Link(1, "lo", loopback=True)
ETH0 = Link(2, "eth0", mtu=1450)
ETH1 = Link(3, "eth1", mtu=9000)
DOCKER0 = Link(4, "docker0", kind="bridge")
PORT = Link(5, "veth1", kind="veth", master=4)
WG0 = Link(6, "wg0", kind="wireguard", mtu=1420)
OURS = Link(7, "cl0123456789", kind="veth", group=DEVICE_GROUP)
GATEWAYS = Link(8, GATEWAY_DEVICE, kind="bridge")
LINKS = [LO, ETH0, ETH1, DOCKER0, PORT, WG0, OURS, GATEWAYS]


def at(ifindex: int, text: str) -> Address:
    return ifindex, ip_interface(text)


ADDRESSES = [
    at(1, "127.0.0.1/8"),
    at(1, "::1/128"),
    at(2, "192.0.2.2/24"),
    at(2, "fe80::1/64"),
    at(4, "172.17.0.1/16"),
    at(8, "10.200.0.1/32"),
]


def via(network: str, ifindex: int) -> Route:
    return Route(ip_network(network), ifindex)


ROUTES = [
    via("0.0.0.0/0", 2),
    via("192.0.2.0/24", 2),
    via("172.17.0.0/16", 4),
    via("10.200.0.2/32", 7),
    via("fe80::/64", 4),
]


def facts(*devices: str) -> HostFacts:
    return classify(LINKS, ADDRESSES, ROUTES, devices)


def test_the_hosts_addresses_are_those_that_others_can_reach() -> None:
    assert facts().addresses == {ip_network(text) for text in ("192.0.2.2", "172.17.0.1", "10.200.0.1")}


def ending_here(network: str, ifindex: int) -> Route:
    return Route(ip_network(network), ifindex, local=True)


def test_what_else_ends_at_the_host_is_the_host() -> None:
    ends = ["192.0.2.255", "172.17.255.255", "198.51.100.0/24", "2001:db8::/128"]
    more = [*ROUTES, *(ending_here(network, 2) for network in ends)]
    assert classify(LINKS, ADDRESSES, more, ()).addresses == facts().addresses | set(map(ip_network, ends))


def test_a_link_local_ipv4_address_is_the_hosts_as_any_other() -> None:
    more = [*ADDRESSES, at(2, "169.254.7.1/16")]
    assert ip_network("169.254.7.1") in classify(LINKS, more, ROUTES, ()).addresses


def test_what_ends_here_is_neither_a_way_out_nor_somebody_behind_a_bridge() -> None:
    more = [*ROUTES, ending_here("0.0.0.0/0", 6), ending_here("172.18.0.0/16", 4)]
    told = classify(LINKS, ADDRESSES, more, ())
    assert (told.uplinks, told.unmanaged) == (facts().uplinks, facts().unmanaged)


def test_loopback_and_link_local_ipv6_are_not_reached_from_containers() -> None:
    more = [*ROUTES, *(ending_here(network, 1) for network in ("127.0.0.0/8", "::1/128", "fe80::1/128"))]
    assert classify(LINKS, ADDRESSES, more, ()).addresses == facts().addresses


def test_an_uplink_has_the_default_route() -> None:
    assert classify([LO, DOCKER0], [], [via("0.0.0.0/0", 4)], ()).uplinks == {4: "docker0"}
    assert facts().uplinks == {2: "eth0"}
    assert facts().mtu == 1450


def test_hardware_with_an_address_is_an_uplink_too() -> None:
    more = classify(LINKS, [*ADDRESSES, at(3, "198.51.100.1/24")], ROUTES, ())
    assert more.uplinks == {2: "eth0", 3: "eth1"}


@pytest.mark.parametrize("kind", ["vlan", "bond", "team", "wireguard", "tun", "gre", "vxlan", ""])
def test_what_leads_to_other_machines_is_an_uplink_once_it_is_used(kind: str) -> None:
    link = Link(9, "more0", kind=kind)
    assert 9 not in classify([*LINKS, link], ADDRESSES, ROUTES, ()).uplinks
    addressed = classify([*LINKS, link], [*ADDRESSES, at(9, "198.51.100.1/32")], ROUTES, ())
    routed = classify([*LINKS, link], ADDRESSES, [*ROUTES, via("10.9.0.0/16", 9)], ())
    for told in (addressed, routed):
        assert told.uplinks == {2: "eth0", 9: "more0"}
        assert told.unmanaged == facts().unmanaged


@pytest.mark.parametrize("kind", ["bridge", "veth", "macvlan", "ipvlan", "tap", "dummy"])
def test_what_leads_to_containers_or_machines_of_this_host_is_none(kind: str) -> None:
    link = Link(9, "more0", kind=kind)
    told = classify([*LINKS, link], [*ADDRESSES, at(9, "10.9.0.1/16")], [*ROUTES, via("10.9.0.0/16", 9)], ())
    assert told.uplinks == facts().uplinks
    assert told.unmanaged == facts().unmanaged | {ip_network("10.9.0.0/16")}
    default = classify([*LINKS, link], ADDRESSES, [via("0.0.0.0/0", 9)], ())
    assert default.uplinks == {2: "eth0", 9: "more0"}, "unless the world is behind it"


def test_a_part_of_a_bond_is_none() -> None:
    part = Link(9, "eth2", master=10)
    assert classify([*LINKS, part], [*ADDRESSES, at(9, "fe80::9/64")], ROUTES, ()).uplinks == facts().uplinks


def test_a_vpn_beside_the_way_to_the_world_makes_no_packet_smaller() -> None:
    told = classify(LINKS, ADDRESSES, [*ROUTES, via("10.8.0.0/24", 6)], ())
    assert told.uplinks == {2: "eth0", 6: "wg0"} and told.mtu == 1450


def test_who_names_the_uplinks_has_the_last_word() -> None:
    assert facts("wg0").uplinks == {6: "wg0"}
    assert facts("wg0").mtu == 1420
    assert ip_network("192.0.2.0/24") in facts("wg0").unmanaged


def test_what_lies_behind_other_devices_is_unmanaged() -> None:
    assert facts().unmanaged == {ip_network("172.17.0.0/16")}


def test_the_hosts_own_networks_are_what_it_has_routes_to() -> None:
    lan, vpn = ip_network("192.0.2.0/24"), ip_network("10.8.0.0/24")
    wide = [via("0.0.0.0/1", 6), via("128.0.0.0/1", 6), via("2000::/3", 6), via("fe80::/64", 2)]
    more = [*ROUTES, via("10.8.0.0/24", 6), ending_here("198.51.100.0/24", 2), *wide]
    assert classify(LINKS, ADDRESSES, more, ()).routed == {lan: "eth0", vpn: "wg0"}


def test_bridges_of_others() -> None:
    assert facts().bridges == {"docker0"}
    uplink = classify(LINKS, ADDRESSES, [via("0.0.0.0/0", 4)], ())
    assert uplink.bridges == frozenset(), "a bridge that leads to the world is no engine's"


def test_a_host_with_nothing() -> None:
    assert classify([LO], [], [], ()) == HostFacts()
