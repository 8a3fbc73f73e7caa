"""Docker's messages, as captured from dockerd 20.10 and 26.1, and broken ones."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import pytest

from driver.schema import load_endpoint, load_network
from model.errors import InvalidInput
from model.network import Subnet

NETWORK = "0bfdc4bee6080afce3957847ac793c25f9a7a4ea0d4680e0145bcf6c429249e2"
ENDPOINT = "835345c5f3bc09705489e9d97a06eb7aabc9db9a085d99a884ef150f1117ea8e"


def test_a_network_of_both_families() -> None:
    request = load_network(
        {
            "NetworkID": NETWORK,
            "Options": {"com.docker.network.enable_ipv6": True, "com.docker.network.generic": {"k": "v"}},
            "IPv4Data": [{"AddressSpace": "ciliatelocal", "Gateway": "10.77.0.1/24", "Pool": "10.77.0.0/24"}],
            "IPv6Data": [{"AddressSpace": "ciliatelocal", "Gateway": "fd77::1/64", "Pool": "fd77::/64"}],
        }
    )
    assert request.network_id == NETWORK
    assert request.subnets == (
        Subnet(ip_network("10.77.0.0/24"), ip_address("10.77.0.1")),
        Subnet(ip_network("fd77::/64"), ip_address("fd77::1")),
    )


def test_go_writes_null_for_what_is_empty() -> None:
    request = load_network({"NetworkID": NETWORK, "Options": None, "IPv4Data": None, "IPv6Data": None})
    assert request.subnets == () and request.options == {}
    pool = {"Pool": "10.77.0.0/24", "Gateway": None}
    assert load_network({"NetworkID": NETWORK, "IPv4Data": [pool]}).subnets[0].gateway is None


def test_an_endpoint() -> None:
    request = load_endpoint(
        {
            "NetworkID": NETWORK,
            "EndpointID": ENDPOINT,
            "Interface": {"Address": "10.77.0.50/24", "AddressIPv6": "fd77::2/64", "MacAddress": ""},
            "Options": {"com.docker.network.portmap": []},
        }
    )
    assert (request.ipv4, request.ipv6, request.mac) == (
        IPv4Address("10.77.0.50"),
        IPv6Address("fd77::2"),
        "",
    )


def test_a_join() -> None:
    request = load_endpoint(
        {
            "NetworkID": NETWORK,
            "EndpointID": ENDPOINT,
            "SandboxKey": "/var/run/docker/netns/x",
            "Options": None,
        }
    )
    assert request.sandbox == "/var/run/docker/netns/x" and request.ipv4 is None


def interface(**members: str) -> dict[str, Any]:
    return {"NetworkID": NETWORK, "EndpointID": ENDPOINT, "Interface": members}


@pytest.mark.parametrize(
    ("message", "path"),
    [
        ({}, "NetworkID"),
        ({"NetworkID": 7, "EndpointID": ENDPOINT}, "NetworkID"),
        ({"NetworkID": NETWORK}, "EndpointID"),
        ({"NetworkID": NETWORK, "EndpointID": "../../etc"}, "EndpointID"),
        ({"NetworkID": NETWORK, "EndpointID": ENDPOINT, "Options": "x"}, "Options"),
        ({"NetworkID": NETWORK, "EndpointID": ENDPOINT, "Interface": []}, "Interface._schema"),
        (interface(Address="10.77.0.300/24"), "Interface.Address"),
        (interface(Address="fd77::2/64"), "Interface.Address"),
        (interface(AddressIPv6="10.77.0.2/24"), "Interface.AddressIPv6"),
    ],
)
def test_a_message_that_cannot_be(message: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        load_endpoint(message)
    assert caught.value.path == path


def test_a_pool_that_cannot_be() -> None:
    with pytest.raises(InvalidInput) as caught:
        load_network({"NetworkID": NETWORK, "IPv4Data": [{"Pool": "nowhere"}]})
    assert caught.value.path == "IPv4Data.0" and "nowhere" in str(caught.value)
