"""Pools and addresses on one host, across restarts, mishaps and many threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from ipam_driver.ipam import Ipam, Reconciled
from model.errors import Conflict, Exhausted, InvalidInput, NotFound, Unavailable
from model.network import IPAddress, IPNetwork
from store.kv import Entry, KeyValueStore, Op, Watch
from store.memory import MemoryStore
from store.sqlite import SqliteStore

NET = ip_network("10.0.0.0/24")
NET6 = ip_network("fd00::/64")
GATEWAY = ip_address("10.0.0.1")
NewHost = Callable[..., Any]


def made(ipam: Ipam, subnet: IPNetwork = NET, range: str | None = None) -> IPNetwork:
    """A pool with its gateway, as for a network."""
    pool = ipam.request_pool(subnet, ip_network(range) if range else None, version=subnet.version)
    ipam.request_address(pool, None, gateway=True)
    return pool


def address(ipam: Ipam, pool: IPNetwork = NET, wanted: str | None = None) -> str:
    return str(ipam.request_address(pool, ip_address(wanted) if wanted else None))


def taken(ipam: Ipam) -> dict[str, int]:
    return {str(status.pool): status.taken for status in ipam.pools()}


# a network's life


def test_a_network_s_pool_gateway_and_addresses(host: Any) -> None:
    ipam = host.start()
    pool = ipam.request_pool(NET, None, version=4)
    assert str(ipam.request_address(pool, None, gateway=True)) == "10.0.0.1/24"
    assert [address(ipam), address(ipam)] == ["10.0.0.2/24", "10.0.0.3/24"]
    (status,) = ipam.pools()
    assert (status.pool, status.range, status.gateway) == (NET, NET, GATEWAY)
    assert (status.size, status.taken) == (254, 3)

    for last in (2, 3, 1):
        ipam.release_address(pool, ip_address(f"10.0.0.{last}"))
    assert taken(ipam) == {"10.0.0.0/24": 0}
    ipam.release_pool(pool)
    assert ipam.pools() == []
    assert host.held() == set()
    assert host.own.list("") == []


def test_giving_back_is_idempotent(host: Any) -> None:
    ipam = host.start()
    ipam.release_pool(NET)
    ipam.release_address(NET, GATEWAY)
    made(ipam)
    first = address(ipam)
    for _ in range(2):
        ipam.release_address(NET, ip_address(first.partition("/")[0]))
    ipam.release_address(NET, ip_address("10.9.9.9"))
    ipam.release_address(NET, ip_address("fd00::1"))
    assert taken(ipam) == {"10.0.0.0/24": 1}
    for _ in range(2):
        ipam.release_pool(NET)
    with pytest.raises(NotFound, match=r"pool 10.0.0.0/24 is not known") as caught:
        address(ipam)
    assert caught.value.hint


def test_networks_without_a_subnet_get_slices(host: Any) -> None:
    ipam = host.start()
    assert [str(ipam.request_pool(None, None, version=4)) for _ in range(2)] == [
        "10.200.0.0/24",
        "10.200.1.0/24",
    ]
    assert str(ipam.request_pool(None, None, version=6)) == "fd00:c111::/64"
    assert host.held() == {status.pool for status in ipam.pools()}


def test_slices_keep_clear_of_routes_and_of_subnets_chosen_by_hand(host: Any) -> None:
    host.routes[ip_network("10.200.0.0/24")] = "the route of eth0"
    ipam = host.start()
    made(ipam, ip_network("10.200.1.128/25"))
    assert str(ipam.request_pool(None, None, version=4)) == "10.200.2.0/24"


def test_a_range_is_where_addresses_come_from_and_no_more(host: Any) -> None:
    ipam = host.start()
    pool = made(ipam, range="10.0.0.64/30")
    assert [address(ipam) for _ in range(4)] == [f"10.0.0.{last}/24" for last in (64, 65, 66, 67)]
    assert address(ipam, wanted="10.0.0.200") == "10.0.0.200/24"
    with pytest.raises(Exhausted, match=r"range 10.0.0.64/30"):
        address(ipam)
    (status,) = ipam.pools()
    assert (str(status.range), status.size, status.taken) == ("10.0.0.64/30", 4, 6)
    assert pool == NET


def test_a_chosen_gateway_and_static_addresses(host: Any) -> None:
    ipam = host.start()
    pool = ipam.request_pool(NET, None, version=4)
    assert str(ipam.request_address(pool, ip_address("10.0.0.254"), gateway=True)) == "10.0.0.254/24"
    assert address(ipam, wanted="10.0.0.1") == "10.0.0.1/24"
    assert address(ipam) == "10.0.0.2/24"

    with pytest.raises(Conflict, match=r"10.0.0.1 of pool 10.0.0.0/24 is taken"):
        address(ipam, wanted="10.0.0.1")
    with pytest.raises(Conflict, match=r"10.0.0.254 is the gateway of pool 10.0.0.0/24"):
        address(ipam, wanted="10.0.0.254")
    with pytest.raises(Conflict, match=r"has the gateway 10.0.0.254 already"):
        ipam.request_address(pool, ip_address("10.0.0.9"), gateway=True)
    assert taken(ipam) == {"10.0.0.0/24": 3}


@pytest.mark.parametrize(
    ("subnet", "gateway", "others"),
    [("10.0.0.0/31", "10.0.0.0", ["10.0.0.1"]), ("fd00::/127", "fd00::", ["fd00::1"])],
)
def test_the_smallest_networks_hold_a_gateway_and_one_container(
    host: Any, subnet: str, gateway: str, others: list[str]
) -> None:
    ipam = host.start()
    pool = ip_network(subnet)
    made(ipam, pool)
    assert str(ipam.pools()[0].gateway) == gateway
    assert [address(ipam, pool).partition("/")[0]] == others
    with pytest.raises(Exhausted, match="all 2 are taken"):
        address(ipam, pool)


# subnets that cannot be


@pytest.mark.parametrize(
    ("subnet", "range", "reason"),
    [
        ("10.0.0.1/32", None, "one address, and the gateway needs one"),
        ("fd00::1/128", None, "one address, and the gateway needs one"),
        ("127.1.0.0/16", None, "loopback"),
        ("224.0.0.0/8", None, "multicast"),
        ("0.0.0.0/0", None, "holds"),
        ("fe80::/64", None, "link-local"),
        ("10.0.0.0/24", "10.0.1.0/25", "10.0.1.0/25 is not within 10.0.0.0/24"),
        ("10.0.0.0/24", "10.0.0.0/23", "10.0.0.0/23 is not within 10.0.0.0/24"),
        ("10.0.0.0/24", "fd00::/80", "fd00::/80 is not within 10.0.0.0/24"),
        ("10.0.0.0/24", "10.0.0.255/32", "10.0.0.255/32 holds no usable address of 10.0.0.0/24"),
    ],
)
def test_subnets_that_containers_cannot_live_in_are_refused(
    host: Any, subnet: str, range: str | None, reason: str
) -> None:
    ipam = host.start()
    with pytest.raises(InvalidInput, match=reason) as caught:
        made(ipam, ip_network(subnet), range)
    assert caught.value.path in ("--subnet", "--ip-range")
    assert ipam.pools() == [] and host.cluster.list("") == []


def test_a_subnet_in_the_way_of_another_is_refused_by_name(host: Any) -> None:
    host.routes[ip_network("192.168.0.0/16")] = "the route of eth0"
    ipam = host.start()
    made(ipam)
    for subnet, reason in [
        ("10.0.0.0/24", "10.0.0.0/24 overlaps 10.0.0.0/24, the pool of another network of this host"),
        ("10.0.0.0/8", "10.0.0.0/8 overlaps 10.0.0.0/24, the pool of another network of this host"),
        ("192.168.7.0/24", "192.168.7.0/24 overlaps 192.168.0.0/16, the route of eth0"),
    ]:
        with pytest.raises(Conflict) as caught:
            made(ipam, ip_network(subnet))
        assert caught.value.message == reason
        assert caught.value.hint
    assert taken(ipam) == {"10.0.0.0/24": 1}


# restarts


@pytest.fixture(params=["memory", "sqlite"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, KeyValueStore]:
    if request.param == "memory":
        return {"own": MemoryStore(), "cluster": MemoryStore()}
    return {name: SqliteStore(tmp_path / f"{name}.db") for name in ("own", "cluster")}


def test_everything_is_there_after_a_restart(new_host: NewHost, stores: dict[str, KeyValueStore]) -> None:
    host = new_host(**stores)
    ipam = host.start()
    made(ipam, range="10.0.0.64/26")
    made(ipam, NET6)
    ipam.request_address(ipam.request_pool(None, None, version=4), None, gateway=True)
    for _ in range(3):
        address(ipam)
    ipam.release_address(NET, ip_address("10.0.0.66"))
    before = ipam.pools()

    ipam = host.start()
    assert ipam.pools() == before
    assert address(ipam) == "10.0.0.67/24", "the rotation goes on"
    with pytest.raises(Conflict, match="taken"):
        address(ipam, wanted="10.0.0.64")
    with pytest.raises(Conflict, match="gateway"):
        address(ipam, wanted="10.0.0.1")
    with pytest.raises(Conflict, match="overlaps"):
        made(ipam, ip_network("10.200.0.0/24"))


def test_a_request_whose_answer_got_lost_may_be_repeated(host: Any) -> None:
    """dockerd repeats a call when the agent dies in the middle of it."""
    host.start().request_pool(NET, None, version=4)
    ipam = host.start()
    assert ipam.request_pool(NET, None, version=4) == NET
    with pytest.raises(Conflict):
        ipam.request_pool(NET, None, version=4)

    assert str(ipam.request_address(NET, None, gateway=True)) == "10.0.0.1/24"
    ipam = host.start()
    assert str(ipam.request_address(NET, None, gateway=True)) == "10.0.0.1/24"
    assert str(ipam.request_address(NET, GATEWAY, gateway=True)) == "10.0.0.1/24"
    with pytest.raises(Conflict):
        ipam.request_pool(NET, None, version=4)


def test_a_pool_without_addresses_that_a_network_has_is_not_given_twice(host: Any) -> None:
    host.start().request_pool(NET, None, version=4)
    host.routes[NET] = "the network front"
    with pytest.raises(Conflict, match="the network front"):
        host.start().request_pool(NET, None, version=4)


class Failing:
    """A store whose writes fail while `broken`."""

    def __init__(self) -> None:
        self.inner = MemoryStore()
        self.broken = False

    def get(self, key: str) -> Entry | None:
        return self.inner.get(key)

    def list(self, prefix: str) -> list[Entry]:
        return self.inner.list(prefix)

    def transact(self, ops: Sequence[Op], *, durable: bool = True, token: str = "") -> int:
        if self.broken:
            raise Unavailable("the disk is full", hint="free some space")
        return self.inner.transact(ops, durable=durable)

    def watch(self, prefix: str, since: int = 0) -> Watch:
        return self.inner.watch(prefix, since)

    def close(self) -> None:
        self.inner.close()


def test_what_cannot_be_written_down_is_not_given(new_host: NewHost) -> None:
    own = Failing()
    host = new_host(own=own)
    ipam = host.start()
    made(ipam)
    own.broken = True
    for call in (
        lambda: made(ipam, NET6),
        lambda: address(ipam),
        lambda: ipam.release_address(NET, GATEWAY),
        lambda: ipam.release_pool(NET),
    ):
        with pytest.raises(Unavailable, match="disk is full"):
            call()
    own.broken = False

    assert taken(ipam) == {"10.0.0.0/24": 1}
    assert host.held() == {NET}
    assert address(ipam) == "10.0.0.2/24"
    made(ipam, NET6)


# reconciling with Docker


def test_what_docker_forgot_is_freed_once_it_is_old_enough(host: Any) -> None:
    """dockerd 20.10 never gives back an IPv4 address if the IPv6 one failed; nor what it could not release
    while the agent was away."""
    ipam = host.start()
    made(ipam)
    made(ipam, ip_network("10.1.0.0/24"))
    for _ in range(3):
        address(ipam)
    in_use = {NET: {ip_address("10.0.0.3")}}

    assert ipam.reconcile(in_use) == Reconciled()
    host.now += 61
    fresh = address(ipam)
    assert ipam.reconcile(in_use) == Reconciled(
        released_pools=(ip_network("10.1.0.0/24"),),
        released_addresses=(ip_address("10.0.0.2"), ip_address("10.0.0.4")),
    )
    assert fresh == "10.0.0.5/24"
    assert taken(ipam) == {"10.0.0.0/24": 3}, "the gateway, the one in use, the fresh one"
    assert taken(host.start()) == {"10.0.0.0/24": 3}
    assert host.held() == {NET}


def test_a_pool_in_the_making_is_left_alone(host: Any) -> None:
    ipam = host.start()
    ipam.request_pool(NET, None, version=4)
    host.now += 50
    ipam.request_address(NET, None, gateway=True)
    host.now += 50
    assert ipam.reconcile({}) == Reconciled()
    host.now += 20
    assert ipam.reconcile({}).released_pools == (NET,)


def test_what_docker_has_and_the_driver_lost_is_taken_down(host: Any) -> None:
    ipam = host.start()
    in_use: dict[IPNetwork, set[IPAddress]] = {NET: {ip_address("10.0.0.2"), ip_address("10.9.9.9")}}
    assert ipam.reconcile(in_use).restored == (NET, ip_address("10.0.0.2"))
    assert ipam.reconcile(in_use).restored == ()
    assert address(ipam) == "10.0.0.1/24"
    assert address(ipam) == "10.0.0.3/24"
    assert host.held() == {NET}


def test_an_old_picture_does_not_bring_back_what_was_just_released(host: Any) -> None:
    ipam = host.start()
    made(ipam)
    used = ip_address(address(ipam).partition("/")[0])
    picture = {NET: {used}}
    host.now += 61

    ipam.release_address(NET, used)
    assert ipam.reconcile(picture) == Reconciled()
    ipam.release_pool(NET)
    assert ipam.reconcile(picture) == Reconciled()
    assert ipam.pools() == []


def test_a_claim_of_a_life_cut_short_is_given_back(host: Any) -> None:
    host.claims().claim_free(4, lambda slice: None)
    host.claims().claim(NET)
    ipam = host.start()
    ipam.reconcile({})
    assert host.held() == set()


# many at once


def test_twenty_parallel_requests_never_get_the_same_address(
    new_host: NewHost, stores: dict[str, KeyValueStore]
) -> None:
    host = new_host(**stores)
    ipam = host.start()
    made(ipam)
    made(ipam, NET6)

    def live(number: int) -> list[str]:
        mine = []
        for step in range(10):
            pool = (NET, NET6)[(number + step) % 2]
            given = address(ipam, pool)
            if step % 3 == 0:
                ipam.release_address(pool, ip_address(given.partition("/")[0]))
            else:
                mine.append(given)
        return mine

    with ThreadPoolExecutor(20) as threads:
        given = [each for mine in threads.map(live, range(20)) for each in mine]
    assert len(given) == len(set(given)) == 120
    assert sum(taken(ipam).values()) == 122
    assert taken(host.start()) == taken(ipam)


def test_parallel_networks_never_get_overlapping_pools(host: Any) -> None:
    ipam = host.start()

    def make(number: int) -> IPNetwork | None:
        try:
            return ipam.request_pool(NET if number % 2 else None, None, version=4)
        except Conflict:
            return None

    with ThreadPoolExecutor(20) as threads:
        pools = [pool for pool in threads.map(make, range(20)) if pool is not None]
    assert len(pools) == len(set(pools)) == 11


def test_a_pool_that_goes_while_addresses_are_requested_takes_them_all_along(host: Any) -> None:
    ipam = host.start()
    for _ in range(20):
        made(ipam)
        with ThreadPoolExecutor(4) as threads:
            requests = [threads.submit(address, ipam) for _ in range(8)]
            threads.submit(ipam.release_pool, NET).result()
            for request in requests:
                assert request.exception() is None or isinstance(request.exception(), NotFound)
        assert host.own.list("") == []
