"""What a node remembers for itself, across the death of the agent."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path

import pytest

from model.endpoint import Endpoint, EndpointState, PublishedPort
from model.labels import Labels
from model.network import Network, Subnet
from store.local import AddressRecord, LocalStore, PoolRecord
from store.sqlite import SqliteStore

POOL = ip_network("10.0.0.0/16")
OTHER = ip_network("10.0.0.0/24")
WEB = Endpoint(
    id=7,
    docker_id="e7",
    network_id="n1",
    mac="02:42:00:00:00:07",
    ipv4=IPv4Address("10.0.0.7"),
    labels=Labels.parse(["container:app=web"]),
    state=EndpointState.READY,
    ports=(PublishedPort("tcp", ip_address("::"), 8080, 80),),
)
FRONT = Network("n1", "n1", 2, (Subnet(POOL, ip_address("10.0.0.1")),), name="front")

Reopen = Callable[[], LocalStore]


@pytest.fixture
def reopen(tmp_path: Path) -> Reopen:
    """Each call is a new agent on the same file; the one before is gone without having closed it."""
    return lambda: LocalStore(SqliteStore(tmp_path / "node.db"))


def test_endpoints_and_networks_outlive_the_agent(reopen: Reopen) -> None:
    local = reopen()
    local.put_network(FRONT)
    local.put_endpoint(WEB)
    assert reopen().networks() == {"n1": FRONT}
    assert reopen().endpoints() == {"e7": WEB}

    local = reopen()
    local.remove_endpoint("e7")
    local.remove_endpoint("e7")
    local.remove_network("n1")
    assert reopen().endpoints() == {} and reopen().networks() == {}


def test_addresses_come_back_in_the_order_they_were_given_and_with_the_cursor(reopen: Reopen) -> None:
    local = reopen()
    local.put_pool(PoolRecord(POOL, range=OTHER))
    for cursor, last in enumerate((1, 9, 5)):
        address = AddressRecord(POOL, ip_address(f"10.0.0.{last}"), gateway=last == 1)
        local.put_address(address, PoolRecord(POOL, OTHER, cursor=cursor))

    local = reopen()
    assert local.pools() == [PoolRecord(POOL, range=OTHER, cursor=2)]
    assert [str(record.address) for record in local.addresses()] == ["10.0.0.1", "10.0.0.9", "10.0.0.5"]
    assert [record.gateway for record in local.addresses()] == [True, False, False]


def test_a_pool_goes_with_its_addresses_and_with_no_others(reopen: Reopen) -> None:
    local = reopen()
    for pool in (POOL, OTHER):
        local.put_pool(PoolRecord(pool))
        for last in range(1, 100):
            local.put_address(AddressRecord(pool, ip_address(f"10.0.0.{last}")), PoolRecord(pool))

    local.remove_addresses(OTHER, [ip_address(f"10.0.0.{last}") for last in range(2, 100)])
    assert [record.address for record in local.addresses() if record.pool == OTHER] == [
        ip_address("10.0.0.1")
    ]

    local.remove_pool(POOL)
    local.remove_pool(POOL)
    assert reopen().pools() == [PoolRecord(OTHER)]
    assert reopen().addresses() == [AddressRecord(OTHER, ip_address("10.0.0.1"))]


def test_a_sysctl_is_remembered_as_it_was_first(reopen: Reopen) -> None:
    local = reopen()
    local.save_sysctl("net.ipv4.ip_forward", "0")
    reopen().save_sysctl("net.ipv4.ip_forward", "1")
    assert reopen().sysctls() == {"net.ipv4.ip_forward": "0"}
    local.forget_sysctl("net.ipv4.ip_forward")
    assert reopen().sysctls() == {}
