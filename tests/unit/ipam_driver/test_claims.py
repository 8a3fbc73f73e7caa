"""Nodes divide the cluster's pools among them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from typing import Any

import pytest

from ipam_driver.claims import Claims, ClusterPool
from model.errors import Conflict, Exhausted
from model.network import IPNetwork
from store.memory import MemoryStore

NewHost = Callable[..., Any]
SLICE = ip_network("10.200.0.0/24")


def held(claims: Claims) -> set[IPNetwork]:
    return claims.pools() | claims.slices()


def nothing(_: object) -> None:
    return None


def test_nodes_get_different_slices_from_the_lowest_up(new_host: NewHost) -> None:
    cluster = MemoryStore()
    one, two = (new_host(node=node, cluster=cluster).claims() for node in ("n1", "n2"))
    assert str(one.claim_free(4, nothing)) == "10.200.0.0/24"
    assert str(two.claim_free(4, nothing)) == "10.200.1.0/24"
    assert str(one.claim_free(6, nothing)) == "fd00:c111::/64"
    assert str(two.claim_free(6, nothing)) == "fd00:c111:0:1::/64"

    one.release(SLICE, [SLICE])
    assert str(two.claim_free(4, nothing)) == "10.200.0.0/24"


def test_twenty_nodes_at_once_never_share(new_host: NewHost) -> None:
    cluster = MemoryStore()
    claims = [new_host(node=f"n{number}", cluster=cluster).claims() for number in range(20)]
    with ThreadPoolExecutor(20) as threads:
        slices = list(threads.map(lambda each: each.claim_free(4, nothing), claims))
    assert len(set(slices)) == 20
    assert all(held(each) == {slice} for each, slice in zip(claims, slices, strict=True))


def test_a_subnet_in_the_cluster_s_pool_is_its_holder_s_alone(new_host: NewHost) -> None:
    cluster = MemoryStore()
    one, two = (new_host(node=node, cluster=cluster).claims() for node in ("n1", "n2"))
    one.claim(ip_network("10.200.0.0/22"))
    with pytest.raises(Conflict, match=r"10.200.3.0/24 overlaps 10.200.0.0/22, which node n1 holds"):
        two.claim(ip_network("10.200.3.0/24"))
    with pytest.raises(Conflict, match="node n1"):
        two.claim(ip_network("10.0.0.0/8"))
    assert str(two.claim_free(4, nothing)) == "10.200.4.0/24"


def test_other_subnets_are_each_node_s_own_business(new_host: NewHost) -> None:
    cluster = MemoryStore()
    subnet = ip_network("172.20.0.0/16")
    hosts = [new_host(node=node, cluster=cluster).claims() for node in ("n1", "n2")]
    for claims in hosts:
        claims.claim(subnet)
        assert held(claims) == {subnet}
    hosts[0].release(subnet, [subnet])
    assert held(hosts[0]) == set() and held(hosts[1]) == {subnet}


def test_a_release_never_frees_another_node_s_slice(new_host: NewHost) -> None:
    cluster = MemoryStore()
    one, two = (new_host(node=node, cluster=cluster).claims() for node in ("n1", "n2"))
    one.claim(SLICE)
    two.release(SLICE, [SLICE])
    assert held(one) == {SLICE}


def test_slices_that_are_in_the_way_are_passed_over(new_host: NewHost) -> None:
    claims = new_host().claims()
    taken = ip_network("10.200.0.0/23")
    free = claims.claim_free(4, lambda slice: "a route" if slice.overlaps(taken) else None)
    assert str(free) == "10.200.2.0/24"


@pytest.mark.parametrize("lan", ["10.200.200.0/24", "10.200.0.0/16", "10.0.0.0/8"])
def test_a_cluster_pool_in_which_other_machines_live_is_given_to_nobody(new_host: NewHost, lan: str) -> None:
    claims = new_host(outside={ip_network(lan): "the LAN"}).claims()
    with pytest.raises(Conflict) as caught:
        claims.claim_free(4, nothing)
    assert caught.value.message == f"CILIATE_POOL 10.200.0.0/16 overlaps {lan}, the LAN"
    assert "set CILIATE_POOL" in caught.value.hint
    assert held(claims) == set()
    assert claims.claim_free(6, nothing)


def test_running_out_says_of_what_and_why(new_host: NewHost) -> None:
    small = (ClusterPool("CILIATE_POOL", ip_network("10.200.0.0/23"), 24),)
    claims = new_host(pools=small).claims()
    claims.claim_free(4, nothing)
    with pytest.raises(Exhausted) as caught:
        claims.claim_free(4, lambda slice: "10.200.1.0/25, the route of eth1")
    assert caught.value.message == (
        "no /24 of CILIATE_POOL 10.200.0.0/23 is free; 1 are in the way of others, the last: "
        "10.200.1.0/24 overlaps 10.200.1.0/25, the route of eth1"
    )
    assert "CILIATE_POOL" in caught.value.hint
    with pytest.raises(Exhausted, match="no pool for IPv6"):
        claims.claim_free(6, nothing)


def test_a_pool_no_larger_than_one_slice_is_one_slice(new_host: NewHost) -> None:
    claims = new_host(pools=(ClusterPool("CILIATE_POOL", ip_network("10.9.0.0/26"), 24),)).claims()
    assert str(claims.claim_free(4, nothing)) == "10.9.0.0/26"
    with pytest.raises(Exhausted):
        claims.claim_free(4, nothing)


def test_a_huge_pool_that_the_host_has_a_route_for_is_given_up_in_time(new_host: NewHost) -> None:
    asked = []
    with pytest.raises(Exhausted):
        new_host().claims().claim_free(6, lambda slice: asked.append(slice) or "a route")
    assert len(asked) == 1024
