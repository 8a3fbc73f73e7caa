from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

from driver.nft import Cluster, Forward, Needed, ruleset
from model.network import Subnet

SUBNETS = [
    Subnet(ip_network("10.200.0.0/24"), ip_address("10.200.0.1")),
    Subnet(ip_network("10.201.0.0/24"), None),
    Subnet(ip_network("fd00::/64"), ip_address("fd00::1")),
]


def forward(host_ip: str, host_port: int, target: str, port: int, protocol: str = "tcp") -> Forward:
    return Forward(protocol, ip_address(host_ip), host_port, ip_address(target), port)


ANY = forward("0.0.0.0", 8080, "10.200.0.2", 80)
ONE = forward("127.0.0.1", 8081, "10.200.0.2", 80, "udp")
SIX = forward("::", 8080, "fd00::2", 80)


def test_the_table_replaces_whatever_was_there_in_one_go() -> None:
    lines = ruleset(SUBNETS, [ANY, ONE, SIX], masquerade=True).splitlines()
    assert lines[:3] == ["add table inet ciliate", "delete table inet ciliate", "table inet ciliate {"]
    text = "\n".join(lines)
    assert "tcp . 8080 : 10.200.0.2 . 80" in text
    assert "127.0.0.1 . udp . 8081 : 10.200.0.2 . 80" in text
    assert "tcp . 8080 : fd00::2 . 80" in text
    assert "elements = { 10.200.0.0/24, 10.201.0.0/24 }" in text
    assert "elements = { 10.200.0.0/24 : 10.200.0.1 }" in text, "who has no gateway is in no map of gateways"


def test_masquerade_can_be_off() -> None:
    assert ruleset(SUBNETS, [], masquerade=True).count("masquerade") == 2
    assert "masquerade" not in ruleset(SUBNETS, [], masquerade=False)


CLUSTER = Cluster(
    frozenset(map(ip_network, ("10.200.2.0/24", "10.200.3.0/24", "fd00:2::/64"))),
    frozenset(map(ip_address, ("192.0.2.2", "2001:db8::2"))),
    8472,
)


def test_nothing_is_hidden_from_other_nodes() -> None:
    text = ruleset(SUBNETS, [], masquerade=True, cluster=CLUSTER)
    assert "elements = { 10.200.2.0/23, 192.0.2.2/32 }" in text
    assert "elements = { 2001:db8::2/128, fd00:2::/64 }" in text
    assert "ip daddr != @elsewhere4 masquerade" in text and "ip6 daddr != @elsewhere6 masquerade" in text


def test_the_tunnels_port_is_guarded_where_there_is_a_tunnel() -> None:
    tunnelled = ruleset([], [], masquerade=True, cluster=CLUSTER)
    assert "udp dport 8472 meta mark != 0x400 drop" in tunnelled
    native = ruleset([], [], masquerade=True, cluster=replace(CLUSTER, port=0))
    assert "udp dport" not in native
    assert "ct status dnat meta mark set 0x600" in native and "ct status dnat" not in tunnelled
    alone = ruleset(SUBNETS, [], masquerade=True)
    assert "filter" not in alone, "a host alone guards nothing and marks nothing"


def test_empty_sets_are_declared_without_elements() -> None:
    assert "elements" not in ruleset([], [], masquerade=True)


ADDED = """\
add element inet ciliate published4 { tcp . 8080 : 10.200.0.2 . 80 }
add element inet ciliate self4 { 10.200.0.2 . 10.200.0.2 }
"""


def test_a_port_is_added_with_its_way_back_to_the_same_container() -> None:
    assert Needed().change([], [ANY]) == ADDED
    assert Needed().change([], [ANY, ANY]) == ADDED, "named twice it is one"


def test_a_port_goes_as_it_came() -> None:
    needed = Needed()
    needed.change([], [ANY])
    assert needed.change([ANY], []) == ADDED.replace("add", "delete")
    assert needed.change([], []) == ""
    assert needed.change([], [ANY]) == ADDED


def test_what_others_still_need_stays() -> None:
    gone = "delete element inet ciliate published4 { tcp . 8080 : 10.200.0.2 . 80 }\n"
    needed = Needed()
    needed.change([], [ANY])
    needed.change([], [ONE])
    assert needed.change([ANY], []) == gone, "the way back is the other's too"
    needed = Needed()
    needed.change([], [ANY, ONE])
    assert needed.change([ANY, ONE], [ONE]) == gone
    assert needed.change([ONE], [ONE]) == ""
