"""A pool that the nodes of a cluster divide among them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from ipam_driver.ipam import Ipam
from ipam_driver.slices import slice_length, slices_of
from model.errors import Conflict, Exhausted
from model.network import IPNetwork
from store.keys import Keys
from store.kv import Delete
from store.memory import MemoryStore

NET = ip_network("10.50.0.0/24")
WIDE = ip_network("10.50.0.0/16")
NewHost = Callable[..., Any]


@pytest.fixture
def two(new_host: NewHost) -> tuple[Any, Any]:
    cluster = MemoryStore()
    one, other = (new_host(node=node, cluster=cluster, divided=True) for node in ("n1", "n2"))
    return one, other


def made(host: Any, subnet: IPNetwork = NET, range: str | None = None) -> Ipam:
    """The node's part of a network with this subnet."""
    ipam: Ipam = host.start()
    ipam.request_pool(subnet, ip_network(range) if range else None, version=subnet.version)
    ipam.request_address(subnet, None, gateway=True)
    return ipam


def address(ipam: Ipam, subnet: IPNetwork = NET, wanted: str | None = None) -> str:
    return str(ipam.request_address(subnet, ip_address(wanted) if wanted else None))


@pytest.mark.parametrize(
    ("pool", "length"),
    [
        ("10.0.0.0/16", 24),
        ("10.0.0.0/24", 27),
        ("10.0.0.0/28", 30),
        ("10.0.0.0/31", 31),
        ("fd00::/48", 64),
        ("fd00::/64", 67),
    ],
)
def test_a_pool_is_cut_as_the_cluster_s_is_or_into_eight(pool: str, length: int) -> None:
    network = ip_network(pool)
    assert slice_length(network, 24 if network.version == 4 else 64) == length


def test_a_range_is_cut_too_and_a_small_one_is_a_slice() -> None:
    whole = ip_network("10.0.0.0/16")
    assert [str(one) for one in slices_of(whole, 24, ip_network("10.0.2.0/23"))] == [
        "10.0.2.0/24",
        "10.0.3.0/24",
    ]
    assert list(slices_of(whole, 24, ip_network("10.0.2.16/28"))) == [ip_network("10.0.2.16/28")]


def test_two_nodes_with_one_subnet_never_give_the_same_address(two: tuple[Any, Any]) -> None:
    one, other = map(made, two)
    assert (address(one), address(other)) == ("10.50.0.2/24", "10.50.0.32/24")
    assert [pool.gateway for pool in (*one.pools(), *other.pools())] == [ip_address("10.50.0.1")] * 2
    given = [address(ipam) for _ in range(100) for ipam in (one, other)]
    assert len(set(given)) == 200
    with pytest.raises(Exhausted, match=r"no slice of pool 10.50.0.0/24 is free") as caught:
        for _ in range(100):
            address(one), address(other)
    assert "--subnet" in caught.value.hint


def test_many_nodes_at_once_share_a_subnet(new_host: NewHost) -> None:
    cluster = MemoryStore()
    hosts = [new_host(node=f"n{number}", cluster=cluster, divided=True) for number in range(12)]
    with ThreadPoolExecutor(12) as threads:
        nodes = list(threads.map(lambda host: made(host, WIDE), hosts))
        given = list(threads.map(lambda ipam: [address(ipam, WIDE) for _ in range(300)], nodes))
    assert len({one for each in given for one in each}) == 12 * 300


def test_a_full_slice_is_followed_by_another_for_good(two: tuple[Any, Any]) -> None:
    host, _ = two
    ipam = made(host)
    given = {address(ipam) for _ in range(60)}
    assert "10.50.0.40/24" in given
    again = host.start()
    assert address(again) not in given
    assert {str(slice) for slice in host.claims().slices()} == {"10.50.0.0/27", "10.50.0.32/27"}
    again.release_pool(NET)
    assert host.held() == set()


def test_an_address_asked_for_is_the_node_s_if_nobody_else_has_its_slice(two: tuple[Any, Any]) -> None:
    one, other = map(made, two)
    assert address(one, wanted="10.50.0.200") == "10.50.0.200/24"
    with pytest.raises(Conflict) as caught:
        address(other, wanted="10.50.0.201")
    assert caught.value.message == "10.50.0.201 lies in 10.50.0.192/27, which node n1 holds"
    assert address(one, wanted="10.50.0.201") == "10.50.0.201/24"
    with pytest.raises(Conflict, match=r"taken"):
        address(one, wanted="10.50.0.201")


def test_ranges_side_by_side_are_each_a_node_s(two: tuple[Any, Any]) -> None:
    one, other = made(two[0], WIDE, "10.50.0.0/29"), made(two[1], WIDE, "10.50.0.8/29")
    assert address(one, WIDE) == "10.50.0.2/16"
    assert address(other, WIDE) == "10.50.0.8/16"
    assert address(one, WIDE, "10.50.0.30") == "10.50.0.30/16"


def test_slices_that_this_host_reaches_elsewhere_are_passed_over(new_host: NewHost) -> None:
    host = new_host(divided=True, outside={ip_network("10.50.0.0/26"): "eth1"})
    assert address(made(host)) == "10.50.0.64/24"


def test_a_cluster_pool_s_part_may_be_asked_for_by_many(two: tuple[Any, Any]) -> None:
    subnet = ip_network("10.200.8.0/22")
    one, other = (made(host, subnet) for host in two)
    assert address(one, subnet) == "10.200.8.2/22" and address(other, subnet) == "10.200.9.0/22"


def test_a_wiped_node_takes_up_what_it_held(two: tuple[Any, Any], new_host: NewHost) -> None:
    host, other = two
    ipam = made(host)
    last = [address(ipam) for _ in range(50)][-1]
    held = host.claims().slices()
    made(other)
    wiped = new_host(node=host.node, cluster=host.cluster, divided=True)
    ipam = wiped.start()
    found = ipam.reconcile({NET: [ip_address(last.partition("/")[0])]}, grace=0)
    assert NET in found.restored and not found.contested
    assert wiped.claims().slices() == held
    assert address(ipam) != last


def test_a_store_that_lost_everything_is_told_again(two: tuple[Any, Any], new_host: NewHost) -> None:
    host, _ = two
    ipam = made(host)
    held = host.held()
    for entry in host.cluster.list(""):
        host.cluster.transact([Delete(entry.key)])
    assert not ipam.reconcile({NET: []}).contested
    assert host.held() == held


def test_many_who_find_a_slice_full_at_once_get_one_more_between_them(two: tuple[Any, Any]) -> None:
    host, _ = two
    ipam = made(host)
    for _ in range(30):
        address(ipam)
    with ThreadPoolExecutor(8) as threads:
        given = list(threads.map(lambda _: address(ipam), range(8)))
    assert len(set(given)) == 8
    assert len(host.claims().slices()) == 2


def test_many_who_ask_for_addresses_of_one_slice_at_once_get_them(two: tuple[Any, Any]) -> None:
    host, _ = two
    ipam = made(host)
    wanted = [f"10.50.0.{last}" for last in range(100, 108)]
    with ThreadPoolExecutor(8) as threads:
        given = list(threads.map(lambda each: address(ipam, wanted=each), wanted))
    assert given == [f"{each}/24" for each in wanted]


def test_a_slice_that_the_store_lost_is_claimed_again(two: tuple[Any, Any]) -> None:
    host, other = two
    ipam = made(host)
    (slice,) = host.claims().slices()
    host.cluster.transact([Delete(Keys().slice(slice))])
    assert not ipam.reconcile({NET: []}).contested
    assert host.claims().slices() == {slice}
    host.cluster.transact([Delete(Keys().slice(slice))])
    made(other)
    assert "which node n2 holds" in ipam.reconcile({NET: []}).contested[0]
