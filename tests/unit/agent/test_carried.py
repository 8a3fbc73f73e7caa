"""Which packets cannot be."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest

from agent.carried import check_families, refusal
from agent.parties import NEW, Party
from model.endpoint import Endpoint
from model.errors import InvalidInput
from model.flow import DropReason
from model.identity import Reserved
from model.labels import Labels
from model.network import Network, Subnet
from policy.icmp import ICMP, ICMPV6

BOTH = Endpoint(1, "e", "n", "", IPv4Address("10.0.0.5"), IPv6Address("fd00::5"))
CONTAINER = Party("web", "web", 256, Labels(), BOTH)
HOST = Party("host", "host", int(Reserved.HOST), Reserved.HOST.labels)


@pytest.mark.parametrize(
    ("addresses", "reason"),
    [
        ("224.0.0.0 239.255.255.255 255.255.255.255 ff02::1 ffff::1", DropReason.MULTICAST),
        ("0.0.0.0 0.255.255.255 127.0.0.0 127.255.255.255", DropReason.MARTIAN),
        (":: ::1 ::192.0.2.1 ::ffff:192.0.2.1 fe80::1 febf:ffff::1", DropReason.MARTIAN),
        ("1.0.0.0 126.0.0.1 128.0.0.0 169.254.169.254 223.255.255.255 240.0.0.1", DropReason.NONE),
        ("::1:0:0 ::fffe:0:0 fec0::1 fd00::1 2001:db8::1", DropReason.NONE),
    ],
)
def test_the_edges_of_what_is_never_carried(addresses: str, reason: DropReason) -> None:
    for address in addresses.split():
        assert refusal(ip_address(address)) is reason, address


def test_who_has_both_families_meets_everybody() -> None:
    for other in (HOST, Party("x", "x", 2, Labels(), address=ip_address("2001:db8::1"))):
        check_families(CONTAINER, other, 6)
        check_families(other, CONTAINER, ICMPV6)


def test_a_container_to_be_has_the_families_of_its_network() -> None:
    network = Network("n", "n", 1, (Subnet(ip_network("fd00::/64"), None),))
    new = Party("a=b", "a=b", NEW, Labels(), network=network)
    check_families(new, CONTAINER, ICMPV6)
    with pytest.raises(InvalidInput, match="a=b and web have only IPv6 in common"):
        check_families(new, CONTAINER, ICMP)
    check_families(Party("a=b", "a=b", NEW, Labels()), CONTAINER, ICMP)
