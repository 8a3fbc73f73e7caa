"""What a policy map holds, in host order, and how it follows from a resolved policy. PURE.

The datapath asks a map twice: for the peer's identity and for 0, which stands for anybody; each time the entry with
the longest match answers, and a deny in either answer wins. So that the longest match of one identity is
the right answer for it, the strongest verdict reaches into everything that its entry covers: a broad deny into
every narrower allow. What then says no more than an entry that covers it, of its own identity or of 0, is left out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from model.flow import Direction
from policy.ports import ANY_PROTOCOL, Place, wider
from policy.resolve import Grants, SubjectPolicy
from policy.selector import Selector

ANYBODY = 0

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True, order=True)
class PolicyKey:
    """Identity 0: any peer. Protocol 0: any (then `port_bits` is 0). `port_bits` 0: any port; 16: exactly
    `port`; else the ports that agree with `port` in that many leading bits. ICMP: the port is the type."""

    direction: Direction
    identity: int = 0
    protocol: int = 0
    port: int = 0
    port_bits: int = 0


@dataclass(frozen=True, slots=True)
class PolicyEntry:
    deny: bool = False
    proxy_port: int = 0
    cookie: int = 0


MapState = Mapping[PolicyKey, PolicyEntry]
Select = Callable[[Selector], Collection[int]]

ALLOW, DENY = PolicyEntry(), PolicyEntry(deny=True)

_NOWHERE: frozenset[Place] = frozenset()


def map_state(policy: SubjectPolicy, select: Select) -> dict[PolicyKey, PolicyEntry]:
    """`select`: the identities that a selector selects now."""
    chosen: dict[int, list[Grants]] = {}
    for peer, grants in policy.peers.items():
        for identity in select(peer):
            chosen.setdefault(identity, []).append(grants)
    anybody = _anybody(policy)
    state = _entries(ANYBODY, anybody)
    known: dict[tuple[int, ...], Grants] = {}
    for identity, parts in chosen.items():
        alike = tuple(map(id, parts))
        if alike not in known:
            known[alike] = _strongest(parts, anybody)
        state.update(_entries(identity, known[alike]))
    return state


def map_states(
    policies: Mapping[K, SubjectPolicy],
    select: Select,
    pause: Callable[[], None] = lambda: None,
    made: Mapping[int, MapState] | None = None,
) -> dict[K, MapState]:
    """By the keys given; where they share a policy, one map serves all. `pause` is called between maps. `made`: maps
    that are there already, by the id of their policy."""
    known = dict(made or {})
    for policy in policies.values():
        if id(policy) not in known:
            known[id(policy)] = map_state(policy, select)
            pause()
    return {key: known[id(policy)] for key, policy in policies.items()}


def identity_delta(
    policy: SubjectPolicy, identity: int, selectors: Iterable[Selector]
) -> dict[PolicyKey, PolicyEntry]:
    """What to add to the map when an identity appears that these selectors select. When one goes, every key that
    names it goes."""
    parts = [policy.peers[selector] for selector in selectors if selector in policy.peers]
    return _entries(identity, _strongest(parts, _anybody(policy))) if parts else {}


def _anybody(policy: SubjectPolicy) -> Grants:
    """What identity 0 has in the map. A direction that is not enforced allows everybody everything."""
    is_open = frozenset(
        (direction, ANY_PROTOCOL, 0, 0) for direction in Direction if direction not in policy.enforced
    )
    return _strongest([policy.anybody, Grants(allow=is_open)], Grants())


def _strongest(parts: Collection[Grants], beneath: Grants) -> Grants:
    """The fewest places that give every packet the verdict that all parts together do, on top of `beneath`. No allow
    is covered by a deny, and nothing by its like."""
    allow = _NOWHERE.union(*[part.allow for part in parts])
    deny = _NOWHERE.union(*[part.deny for part in parts])
    return Grants(_beside(allow, deny | beneath.allow | beneath.deny), _beside(deny, beneath.deny))


def _beside(places: frozenset[Place], others: frozenset[Place]) -> frozenset[Place]:
    """Those that nothing of the others covers, nor anything wider of their own."""
    if not places:
        return places
    all_places = places | others
    return frozenset(
        [place for place in places if place not in others and wider(place).isdisjoint(all_places)]
    )


def _entries(identity: int, grants: Grants) -> dict[PolicyKey, PolicyEntry]:
    entries = dict.fromkeys((_key(identity, place) for place in grants.allow), ALLOW)
    entries.update(dict.fromkeys((_key(identity, place) for place in grants.deny), DENY))
    return entries


def _key(identity: int, place: Place) -> PolicyKey:
    direction, protocol, port, bits = place
    return PolicyKey(direction, identity, protocol, port, bits)
