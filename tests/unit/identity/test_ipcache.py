"""What an address is, when several say something about it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from identity.ipcache import CLOSED, Changes, Ipcache, Owner
from model.network import IPAddress, IPNetwork

POOL, INSIDE, BESIDE = ip_network("10.200.1.0/24"), ip_network("10.200.1.5/32"), ip_network("10.200.2.5/32")
AROUND = ip_network("10.0.0.0/8")


def said(*claims: tuple[Owner, IPNetwork, str]) -> Ipcache[str]:
    cache: Ipcache[str] = Ipcache()
    for owner, prefix, entry in claims:
        cache, _ = cache.put_many(owner, {prefix: entry})
    return cache


@pytest.mark.parametrize(
    ("strong", "weak"), [(a, b) for a in Owner for b in Owner if a < b], ids=lambda owner: owner.name
)
def test_the_strongest_owner_decides_until_it_goes(strong: Owner, weak: Owner) -> None:
    cache = said((weak, INSIDE, "weak"))
    cache, changes = cache.put_many(strong, {INSIDE: "strong"})
    assert changes == Changes({INSIDE: "strong"}, (), weak is not Owner.POOL)
    assert cache.put_many(weak, {INSIDE: "weaker"})[1] == Changes()
    cache, changes = cache.remove_many(strong, [INSIDE])
    assert changes == Changes({INSIDE: "weak"}, (), strong is not Owner.POOL)
    cache, changes = cache.remove_many(weak, [INSIDE])
    assert changes == Changes({}, (INSIDE,), weak is not Owner.POOL) and cache == Ipcache()


@pytest.mark.parametrize(
    "owner", [owner for owner in Owner if owner is not Owner.CIDR], ids=lambda owner: owner.name
)
def test_who_takes_a_free_address_of_a_pool_makes_no_verdict_void(owner: Owner) -> None:
    """Nobody could talk to it until then."""
    _, changes = said((Owner.POOL, POOL, "pool")).put_many(owner, {INSIDE: "new"})
    assert changes == Changes({INSIDE: "new"}, (), False)


@pytest.mark.parametrize("owner", Owner, ids=lambda owner: owner.name)
@pytest.mark.parametrize("before", [None, Owner.CIDR, Owner.UNMANAGED, Owner.HOST], ids=str)
def test_who_takes_an_address_of_somebody_else_makes_verdicts_void(
    before: Owner | None, owner: Owner
) -> None:
    """Also of the world, and also without touching the entry that its address had until then."""
    cache = said() if before is None else said((before, AROUND, "before"))
    _, changes = cache.put_many(owner, {INSIDE: "new"})
    assert changes.narrowing is (changes.puts != {}), "no rule says anything of the host or behind a bridge"
    assert changes.puts or (before in (Owner.UNMANAGED, Owner.HOST) and owner is Owner.CIDR)


def test_a_pool_may_be_all_there_is() -> None:
    everything = ip_network("::/0")
    _, changes = said((Owner.POOL, everything, "all")).put_many(
        Owner.ENDPOINT, {ip_network("fd00::5/128"): "web"}
    )
    assert not changes.narrowing


def test_a_pool_inside_another_makes_no_verdict_void_and_one_in_the_world_does() -> None:
    cache, changes = said().put_many(Owner.POOL, {AROUND: "all"})
    assert changes.narrowing
    cache, changes = cache.put_many(Owner.POOL, {POOL: "net"})
    assert not changes.narrowing
    _, changes = cache.remove_many(Owner.POOL, [POOL, AROUND])
    assert not changes.narrowing


def test_to_say_the_same_again_changes_nothing() -> None:
    cache = said((Owner.HOST, INSIDE, "host"))
    again, changes = cache.put_many(Owner.HOST, {INSIDE: "host"})
    assert changes == Changes() and again == cache
    assert cache.remove_many(Owner.ENDPOINT, [INSIDE]) == (cache, Changes())
    assert cache.remove_many(Owner.CIDR, [BESIDE]) == (cache, Changes())


@pytest.mark.parametrize("owner", CLOSED, ids=lambda owner: owner.name)
def test_no_rule_makes_an_unknown_address_of_a_pool_known(owner: Owner) -> None:
    cache = said((owner, POOL, "closed"), (Owner.CIDR, INSIDE, "cidr"), (Owner.CIDR, POOL, "cidr"))
    assert cache.effective() == {POOL: "closed"}


def test_a_rule_may_speak_of_what_is_around_and_beside_a_pool() -> None:
    cache = said((Owner.POOL, POOL, "pool"), (Owner.CIDR, AROUND, "wide"), (Owner.CIDR, BESIDE, "cidr"))
    assert cache.effective() == {POOL: "pool", AROUND: "wide", BESIDE: "cidr"}


def test_a_pool_that_comes_takes_effect_from_rules_and_one_that_goes_gives_it_back() -> None:
    cache = said((Owner.CIDR, INSIDE, "cidr"), (Owner.CIDR, BESIDE, "cidr"))
    cache, changes = cache.put_many(Owner.POOL, {POOL: "pool"})
    assert changes == Changes({POOL: "pool"}, (INSIDE,), True)
    cache, changes = cache.remove_many(Owner.POOL, [POOL])
    assert changes == Changes({INSIDE: "cidr"}, (POOL,), False)


def test_an_address_stays_closed_while_any_pool_holds_it() -> None:
    cache = said((Owner.CIDR, INSIDE, "cidr"), (Owner.POOL, AROUND, "all"), (Owner.POOL, POOL, "net"))
    cache, _ = cache.remove_many(Owner.POOL, [POOL])
    assert cache.effective() == {AROUND: "all"}
    cache, _ = cache.put_many(Owner.UNMANAGED, {AROUND: "bridge"})
    cache, _ = cache.remove_many(Owner.POOL, [AROUND])
    assert cache.effective() == {AROUND: "bridge"}
    cache, _ = cache.remove_many(Owner.UNMANAGED, [AROUND])
    assert cache.effective() == {INSIDE: "cidr"}


def test_a_rule_withdrawn_while_a_pool_closed_it_does_not_come_back() -> None:
    cache = said((Owner.CIDR, INSIDE, "cidr"), (Owner.POOL, POOL, "pool"))
    cache, changes = cache.remove_many(Owner.CIDR, [INSIDE])
    assert changes == Changes()
    cache, _ = cache.remove_many(Owner.POOL, [POOL])
    assert cache == Ipcache()


def test_endpoints_and_the_host_are_known_inside_a_pool() -> None:
    gateway = ip_network("10.200.1.1/32")
    cache = said((Owner.POOL, POOL, "pool"), (Owner.ENDPOINT, INSIDE, "web"), (Owner.HOST, gateway, "host"))
    assert cache.effective() == {POOL: "pool", INSIDE: "web", gateway: "host"}


def test_a_prefix_of_one_family_closes_nothing_of_the_other() -> None:
    cache = said((Owner.POOL, ip_network("::/0"), "pool"), (Owner.CIDR, INSIDE, "cidr"))
    assert cache.effective()[INSIDE] == "cidr"


OWNERS = st.sampled_from(list(Owner))
PREFIX: st.SearchStrategy[IPNetwork] = st.one_of(
    st.builds(
        lambda bits, length: IPv4Network((bits << 29, length), strict=False),
        st.integers(0, 7),
        st.integers(0, 3),
    ),
    st.builds(
        lambda bits, length: IPv6Network((bits << 126, length), strict=False),
        st.integers(0, 3),
        st.integers(0, 2),
    ),
)
PUT = st.tuples(OWNERS, st.dictionaries(PREFIX, st.sampled_from("abc"), max_size=4))
REMOVE = st.tuples(OWNERS, st.lists(PREFIX, max_size=4))

Claims = dict[tuple[Owner, IPNetwork], str]


def rebuilt(claims: Claims) -> dict[IPNetwork, str]:
    return {prefix: entry for prefix, (_, entry) in decided(claims).items()}


def decided(claims: Claims) -> dict[IPNetwork, tuple[Owner, str]]:
    """The rules of the table, applied to everything that was said, as plainly as can be."""

    def closed(prefix: IPNetwork) -> bool:
        return any(
            owner in CLOSED and other.version == prefix.version and prefix.subnet_of(other)  # type: ignore[arg-type]
            for owner, other in claims
        )

    found: dict[IPNetwork, tuple[Owner, str]] = {}
    for (owner, prefix), entry in sorted(claims.items(), key=lambda item: item[0][0], reverse=True):
        if owner is not Owner.CIDR or not closed(prefix):
            found[prefix] = owner, entry
    return found


ADDRESSES = [IPv4Address(bits << 29) for bits in range(8)] + [IPv6Address(bits << 126) for bits in range(4)]
"""One of each of the smallest prefixes that are drawn."""

Meaning = tuple[Owner, str] | None


def meanings(claims: Claims) -> list[Meaning]:
    """Whose each address is, and what: by the longest prefix, as a packet sees it."""
    table = decided(claims)

    def meaning(address: IPAddress) -> Meaning:
        holding = [prefix for prefix in table if address in prefix]
        return table[max(holding, key=lambda prefix: prefix.prefixlen)] if holding else None

    return [meaning(address) for address in ADDRESSES]


def loses_its_meaning(before: Meaning, after: Meaning) -> bool:
    """Flows of that address were judged, and would be judged otherwise now."""
    known = before is None or before[0] is not Owner.POOL
    return known and (before and before[1]) != (after and after[1])


def applied(table: dict[IPNetwork, str], changes: Changes[str]) -> dict[IPNetwork, str]:
    assert not changes.puts.keys() & set(changes.deletes)
    return {prefix: entry for prefix, entry in table.items() if prefix not in changes.deletes} | dict(
        changes.puts
    )


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(PUT, REMOVE), max_size=12))
def test_whatever_is_said_in_turn(
    steps: list[tuple[Owner, dict[IPNetwork, str]] | tuple[Owner, list[IPNetwork]]],
) -> None:
    cache: Ipcache[str] = Ipcache()
    claims: Claims = {}
    table: dict[IPNetwork, str] = {}
    all_changes: Changes[str] = Changes()
    for owner, what in steps:
        before, meant = table, meanings(claims)
        if isinstance(what, dict):
            cache, changes = cache.put_many(owner, what)
            claims |= {(owner, prefix): entry for prefix, entry in what.items()}
        else:
            cache, changes = cache.remove_many(owner, what)
            for prefix in what:
                claims.pop((owner, prefix), None)
        table = applied(table, changes)
        assert table == cache.effective() == rebuilt(claims)
        assert set(changes.deletes) <= before.keys()
        assert all(before.get(prefix) != entry for prefix, entry in changes.puts.items())
        if any(map(loses_its_meaning, meant, meanings(claims))):
            assert changes.narrowing
        if changes.narrowing:
            assert changes.puts or changes.deletes
        all_changes = all_changes.then(changes)
    assert applied({}, all_changes) == table
    assert cache == _from(claims.items()), "the way here leaves no trace"


def _from(claims: Iterable[tuple[tuple[Owner, IPNetwork], str]]) -> Ipcache[str]:
    return said(*((owner, prefix, entry) for (owner, prefix), entry in claims))


def test_one_more_pool_or_endpoint_costs_little_with_many_rules() -> None:
    rules = {ip_network((0x0B000000 + 256 * number, 24)): "cidr" for number in range(10_000)}
    pools = {ip_network((0x0AC80000 + 256 * number, 24)): "pool" for number in range(200)}
    begun = time.process_time()
    cache, _ = said().put_many(Owner.POOL, pools)
    cache, _ = cache.put_many(Owner.CIDR, rules)
    assert time.process_time() - begun < 1
    begun = time.process_time()
    cache, _ = cache.put_many(Owner.POOL, {ip_network("10.99.0.0/24"): "pool"})
    assert time.process_time() - begun < 0.2
    begun = time.process_time()
    for last in range(1, 200):
        cache, _ = cache.put_many(Owner.ENDPOINT, {ip_network(f"10.99.0.{last}/32"): "web"})
    assert time.process_time() - begun < 0.2
