"""One pool's addresses."""

from __future__ import annotations

import time
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ipam_driver.pool import Pool
from model.errors import CiliateError, Conflict, Exhausted, InvalidInput
from model.network import IPAddress, IPNetwork


def pool(subnet: str, range: str | None = None, cursor: int = 0) -> Pool:
    return Pool(ip_network(subnet), ip_network(range) if range else None, cursor)


def give(pool: Pool) -> str:
    address = pool.next_free()
    pool.take(address)
    pool.cursor = pool.cursor_after(address)
    return str(address)


def give_all(pool: Pool) -> list[str]:
    given = []
    while True:
        try:
            given.append(give(pool))
        except Exhausted:
            return given


@pytest.mark.parametrize(
    ("subnet", "range", "all"),
    [
        ("10.0.0.0/29", None, ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]),
        ("10.0.0.0/30", None, ["10.0.0.1", "10.0.0.2"]),
        ("10.0.0.0/31", None, ["10.0.0.0", "10.0.0.1"]),
        ("10.0.0.4/32", None, ["10.0.0.4"]),
        ("fd00::/126", None, ["fd00::1", "fd00::2", "fd00::3"]),
        ("fd00::/127", None, ["fd00::", "fd00::1"]),
        ("fd00::7/128", None, ["fd00::7"]),
        ("10.0.0.0/24", "10.0.0.128/30", ["10.0.0.128", "10.0.0.129", "10.0.0.130", "10.0.0.131"]),
        ("10.0.0.0/24", "10.0.0.0/30", ["10.0.0.1", "10.0.0.2", "10.0.0.3"]),
        ("10.0.0.0/24", "10.0.0.252/30", ["10.0.0.252", "10.0.0.253", "10.0.0.254"]),
        ("10.0.0.0/24", "10.0.0.9/32", ["10.0.0.9"]),
        ("fd00::/64", "fd00::100/127", ["fd00::100", "fd00::101"]),
    ],
)
def test_every_address_that_containers_can_have_is_given_once(
    subnet: str, range: str | None, all: list[str]
) -> None:
    full = pool(subnet, range)
    assert full.size == len(all)
    assert give_all(full) == all


def test_an_exhausted_pool_says_how_large_it_is_and_what_to_do() -> None:
    full = pool("10.0.0.0/29")
    give_all(full)
    with pytest.raises(Exhausted, match=r"pool 10.0.0.0/29 has no free address: all 6 are taken") as caught:
        full.next_free()
    assert "--subnet" in caught.value.hint
    with pytest.raises(Exhausted):
        full.first_free()


def test_an_exhausted_range_says_that_it_is_the_range() -> None:
    full = pool("10.0.0.0/24", "10.0.0.8/30")
    give_all(full)
    with pytest.raises(Exhausted, match=r"range 10.0.0.8/30 of pool 10.0.0.0/24") as caught:
        full.next_free()
    assert "--ip-range" in caught.value.hint
    assert str(full.first_free()) == "10.0.0.1"


def test_an_address_given_back_waits_for_its_turn() -> None:
    rotating = pool("10.0.0.0/29")
    assert [give(rotating) for _ in range(3)] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    rotating.release(ip_address("10.0.0.2"))
    assert [give(rotating) for _ in range(4)] == ["10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.2"]


def test_rotation_goes_on_at_the_cursor_of_before() -> None:
    old = pool("10.0.0.0/29")
    for _ in range(3):
        old.release(ip_address(give(old)))
    assert give(pool("10.0.0.0/29", cursor=old.cursor)) == "10.0.0.4"
    assert give(pool("10.0.0.0/29", cursor=8)) == "10.0.0.1"
    assert give(pool("10.0.0.0/24", "10.0.0.128/25", cursor=3)) == "10.0.0.128"


@pytest.mark.parametrize(
    ("subnet", "wrong", "error", "reason"),
    [
        ("10.0.0.0/24", "10.0.1.1", InvalidInput, "10.0.1.1 is outside pool 10.0.0.0/24"),
        ("10.0.0.0/24", "fd00::1", InvalidInput, "fd00::1 is not of the family of pool 10.0.0.0/24"),
        ("10.0.0.0/24", "10.0.0.0", InvalidInput, "10.0.0.0 is the network address of pool"),
        ("10.0.0.0/24", "10.0.0.255", InvalidInput, "10.0.0.255 is the broadcast address of pool"),
        ("fd00::/64", "fd00::", InvalidInput, "fd00:: is the subnet-router anycast address of pool"),
        ("10.0.0.0/24", "10.0.0.7", Conflict, "10.0.0.7 of pool 10.0.0.0/24 is taken"),
    ],
)
def test_an_address_that_cannot_be_given_is_refused_with_its_own_reason(
    subnet: str, wrong: str, error: type[CiliateError], reason: str
) -> None:
    some = pool(subnet)
    if error is Conflict:
        some.take(ip_address(wrong))
    with pytest.raises(error, match=reason) as caught:
        some.must_be_free(ip_address(wrong))
    assert caught.value.hint


def test_the_last_address_of_an_ipv6_pool_is_like_any_other() -> None:
    pool("fd00::/64").must_be_free(ip_address("fd00::ffff:ffff:ffff:ffff"))


def test_an_address_asked_for_may_lie_outside_the_range() -> None:
    static = pool("10.0.0.0/24", "10.0.0.128/25")
    static.must_be_free(ip_address("10.0.0.5"))


def test_a_huge_pool_costs_what_is_used_of_it() -> None:
    huge = pool("fd00::/64")
    assert [give(huge) for _ in range(3)] == ["fd00::1", "fd00::2", "fd00::3"]
    far = ip_address("fd00::8000:0:0:0")
    huge.must_be_free(far)
    huge.take(far)
    huge.cursor = huge.cursor_after(far)
    assert give(huge) == "fd00::8000:0:0:1"


def test_sixty_five_thousand_addresses_are_no_slower_at_the_end() -> None:
    large = pool("10.0.0.0/16")
    for _ in range(65_000):
        give(large)
    started = time.perf_counter()
    for _ in range(534):
        give(large)
    assert (time.perf_counter() - started) / 534 < 0.001
    large.release(ip_address("10.0.17.3"))
    large.cursor = 0x1800
    started = time.perf_counter()
    assert give(large) == "10.0.17.3"
    assert time.perf_counter() - started < 0.005


SUBNETS = st.sampled_from(
    [
        ("10.0.0.0/28", None),
        ("10.0.0.0/27", "10.0.0.8/29"),
        ("10.0.0.0/31", None),
        ("fd00::/125", None),
        ("fd00::/64", "fd00::8/125"),
    ]
)


class Rotation(RuleBasedStateMachine):
    """Whatever happens: nothing is given twice, nothing usable is withheld, and the next is the first free one
    after the last that was given."""

    @initialize(shape=SUBNETS)
    def start(self, shape: tuple[str, str | None]) -> None:
        self.pool = pool(*shape)
        hosts = ip_network(shape[1] or shape[0])
        self.all = [
            address
            for address in map(hosts.network_address.__add__, range(hosts.num_addresses))
            if self._usable(address, ip_network(shape[0]))
        ]
        self.taken: set[IPAddress] = set()

    def _usable(self, address: IPAddress, subnet: IPNetwork) -> bool:
        if subnet.num_addresses <= 2:
            return True
        if address == subnet.network_address:
            return False
        return not (address.version == 4 and address == subnet.broadcast_address)

    @rule()
    def give(self) -> None:
        free = [address for address in self.all if address not in self.taken]
        if not free:
            with pytest.raises(Exhausted):
                self.pool.next_free()
            return
        cursor = self.pool.cursor
        address = ip_address(give(self.pool))
        base = int(self.pool.subnet.network_address)
        turn = sorted(free, key=lambda each: (int(each) - base < cursor, int(each)))
        assert address == turn[0]
        self.taken.add(address)

    @rule(data=st.data())
    def give_by_name(self, data: st.DataObject) -> None:
        address = data.draw(st.sampled_from(self.all))
        if address in self.taken:
            with pytest.raises(Conflict):
                self.pool.must_be_free(address)
        else:
            self.pool.must_be_free(address)
            self.pool.take(address)
            self.taken.add(address)

    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        address = data.draw(st.sampled_from(self.all))
        self.pool.release(address)
        self.taken.discard(address)

    @invariant()
    def counts_agree(self) -> None:
        assert self.pool.taken == len(self.taken)
        assert self.pool.size == len(self.all)
        assert all(self.pool.is_taken(address) == (address in self.taken) for address in self.all)


TestRotation = Rotation.TestCase
TestRotation.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


@given(st.integers(1, 2**16 - 2))
def test_a_cursor_from_anywhere_finds_an_address(cursor: int) -> None:
    assert pool("10.0.0.0/16", cursor=cursor).next_free() in ip_network("10.0.0.0/16")
