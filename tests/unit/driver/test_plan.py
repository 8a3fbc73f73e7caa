from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest

from driver.plan import (
    GATEWAY_MAC,
    HOST_PREFIX,
    SPARE,
    HostRoute,
    checked_mac,
    endpoint_mac,
    gateways,
    link_plan,
)
from model.endpoint import Endpoint
from model.errors import InvalidInput
from model.network import Network, Subnet

NETWORK = Network(
    docker_id="n" * 64,
    id="n" * 64,
    number=2,
    subnets=(
        Subnet(ip_network("10.200.0.0/24"), ip_address("10.200.0.1")),
        Subnet(ip_network("fd00::/64"), ip_address("fd00::1")),
    ),
)
ID = "835345c5f3bc09705489e9d97a06eb7a"
ENDPOINT = Endpoint(
    id=7, docker_id=ID, network_id="n" * 64, mac="02:42:0a:c8:00:02", ipv4=IPv4Address("10.200.0.2")
)


def test_names_fit_into_an_interface_name_and_tell_the_endpoint() -> None:
    plan = link_plan(ENDPOINT, NETWORK, 1500)
    assert plan.host_name == "cl835345c5f3"
    assert plan.container_name == "ctr835345c5f3"
    assert all(len(name) < 16 for name in (plan.host_name, plan.container_name, f"{HOST_PREFIX}{SPARE}99999"))
    assert not plan.container_name.startswith(HOST_PREFIX), "only host sides are counted as such"


def test_the_host_calls_itself_by_the_gateways_address() -> None:
    plan = link_plan(ENDPOINT, NETWORK, 1500)
    assert plan.routes == (HostRoute(ip_address("10.200.0.2"), ip_address("10.200.0.1")),)


def test_both_families() -> None:
    both = Endpoint(
        id=7,
        docker_id=ID,
        network_id="n",
        mac="02:42:0a:c8:00:02",
        ipv4=IPv4Address("10.200.0.2"),
        ipv6=IPv6Address("fd00::2"),
    )
    plan = link_plan(both, NETWORK, 1500)
    assert HostRoute(ip_address("fd00::2"), ip_address("fd00::1")) in plan.routes
    paths = dict(plan.sysctls)
    assert paths["net/ipv6/conf/cl835345c5f3/accept_ra"] == "0"
    assert "net/ipv6/conf/cl835345c5f3/disable_ipv6" not in paths
    assert dict(link_plan(ENDPOINT, NETWORK, 1500).sysctls)["net/ipv6/conf/cl835345c5f3/disable_ipv6"] == "1"


def test_the_networks_mtu_comes_before_the_hosts() -> None:
    assert link_plan(ENDPOINT, NETWORK, 1450).mtu == 1450
    narrow = Network(docker_id="n", id="n", number=2, subnets=NETWORK.subnets, mtu=1400)
    assert link_plan(ENDPOINT, narrow, 1450).mtu == 1400


def test_macs_are_stable_and_of_one_interface() -> None:
    assert endpoint_mac(ID, IPv4Address("10.200.0.2")) == "02:42:0a:c8:00:02"
    assert endpoint_mac(ID, None) == endpoint_mac(ID, None) == "02:42:83:53:45:c5"
    assert checked_mac("02-42-AC-11-00-02") == "02:42:ac:11:00:02"


@pytest.mark.parametrize(
    "text", ["", "02:42", "02:42:ac:11:00:zz", "01:00:5e:00:00:01", "00:00:00:00:00:00", GATEWAY_MAC]
)
def test_macs_that_cannot_be(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        checked_mac(text)
    assert caught.value.path == "MacAddress"


def test_an_internal_network_may_have_no_gateway() -> None:
    bare = Network(docker_id="n", id="n", number=2, subnets=(Subnet(ip_network("10.9.0.0/24"), None),))
    assert gateways(bare) == {}
    assert link_plan(ENDPOINT, bare, 1500).routes == (HostRoute(ip_address("10.200.0.2"), None),)
