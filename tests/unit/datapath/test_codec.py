"""Entries as the programs read them: byte by byte where order and padding matter."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network

import pytest

from datapath import abi, codec
from datapath.tables import EndpointEntry
from model.flow import Direction
from policy.mapstate import PolicyKey


def mirror(key: PolicyKey) -> abi.PolicyKey:
    return abi.PolicyKey.from_buffer_copy(codec.encode_policy_key(key))


@pytest.mark.parametrize(
    ("key", "length"),
    [
        (PolicyKey(Direction.INGRESS, 1000), 40),
        (PolicyKey(Direction.INGRESS, 1000, 6), 48),
        (PolicyKey(Direction.INGRESS, 1000, 6, 80, 16), 64),
        (PolicyKey(Direction.INGRESS, 1000, 6, 0x8000, 1), 49),
    ],
)
def test_what_a_key_leaves_open_is_beyond_its_prefix(key: PolicyKey, length: int) -> None:
    stored = mirror(key)
    assert (stored.prefixlen, stored.identity, stored.direction) == (length, 1000, Direction.INGRESS)
    assert (stored.protocol, stored.port) == (key.protocol, key.port)


def test_bits_of_a_port_beyond_its_range_are_not_stored() -> None:
    one, other = (PolicyKey(Direction.EGRESS, 1, 6, port, 13) for port in (0x1F80, 0x1F87))
    assert codec.encode_policy_key(one) == codec.encode_policy_key(other)


def test_addresses_lie_in_the_order_of_the_wire() -> None:
    assert codec.encode_prefix4(IPv4Network("10.200.0.0/16"))[4:] == bytes([10, 200, 0, 0])
    assert codec.encode_prefix6(IPv6Network("fd00::/8"))[4:] == bytes([0xFD]) + bytes(15)


def test_an_endpoint_without_an_address_has_zeroes() -> None:
    entry = EndpointEntry(5, 2, 1, 0, IPv4Address("10.200.1.2"), None, 7, "02:42:0a:c8:01:02")
    stored = abi.Endpoint.from_buffer_copy(codec.encode_endpoint(entry))
    assert bytes(stored.mac).hex(":") == entry.mac
    assert stored.ipv4 == int(IPv4Address("10.200.1.2"))
    assert bytes(stored.ipv6) == bytes(16)
    assert codec.decode_endpoint(bytes(stored)) == entry
