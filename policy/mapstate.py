"""What a policy map holds, in host order, and how it follows from a resolved policy. PURE.

The datapath asks a map twice: for the peer's identity and for 0, which stands for anybody; each time the entry with
the longest match answers, and a deny in either answer wins. So that the longest match of one identity is
the right answer for it, the strongest verdict reaches into everything that its entry covers: a broad deny into
every narrower allow. What then says no more than an entry that covers it, of its own identity or of 0, is left out.

An entry says two things: what is so by the rules in force, and what would be so if those of audited sets were in force
too. Each is folded by itself, and where either needs an entry, that says both."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass
from enum import IntFlag
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


class PolicyFlag(IntFlag):
    """What an entry says: by the rules in force, and by all rules, those of audited sets too."""

    ALLOW = 1 << 0
    DENY = 1 << 1
    WOULD_ALLOW = 1 << 2
    WOULD_DENY = 1 << 3


ALLOWS = PolicyFlag.ALLOW | PolicyFlag.WOULD_ALLOW
DENIES = PolicyFlag.DENY | PolicyFlag.WOULD_DENY


@dataclass(frozen=True, slots=True)
class PolicyEntry:
    says: PolicyFlag = ALLOWS
    proxy_port: int = 0
    cookie: int = 0


MapState = Mapping[PolicyKey, PolicyEntry]
Select = Callable[[Selector], Collection[int]]

ALLOW, DENY = PolicyEntry(), PolicyEntry(DENIES)

_NOWHERE: frozenset[Place] = frozenset()

_ENTRIES = {PolicyFlag(number): PolicyEntry(PolicyFlag(number)) for number in range(16)}
"""Each once: there may be a hundred thousand."""

_Ways = tuple[Grants, Grants]
"""By the rules in force, and by all rules; the same object where no audited rule is about the subject."""


def map_state(policy: SubjectPolicy, select: Select) -> dict[PolicyKey, PolicyEntry]:
    """`select`: the identities that a selector selects now."""
    in_force = _chosen(policy, select)
    would = in_force if policy.would is None else _chosen(policy.would, select)
    anybody = _anybody(policy)
    state = _entries(ANYBODY, anybody)
    known: dict[tuple[tuple[int, ...], tuple[int, ...]], _Ways] = {}
    for identity in in_force if would is in_force else in_force.keys() | would.keys():
        parts, all_parts = in_force.get(identity, []), would.get(identity, [])
        alike = (tuple(map(id, parts)), tuple(map(id, all_parts)))
        if alike not in known:
            known[alike] = _ways(parts, all_parts, anybody)
        state.update(_entries(identity, known[alike]))
    return state


def _chosen(policy: SubjectPolicy, select: Select) -> dict[int, list[Grants]]:
    """What is said about each identity that anything is said about."""
    chosen: dict[int, list[Grants]] = {}
    for peer, grants in policy.peers.items():
        for identity in select(peer):
            chosen.setdefault(identity, []).append(grants)
    return chosen


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
    matching = list(selectors)
    parts = [policy.peers[selector] for selector in matching if selector in policy.peers]
    all_parts = parts
    if policy.would is not None:
        all_parts = [policy.would.peers[selector] for selector in matching if selector in policy.would.peers]
    if not parts and not all_parts:
        return {}
    return _entries(identity, _ways(parts, all_parts, _anybody(policy)))


def _anybody(policy: SubjectPolicy) -> _Ways:
    """What identity 0 has in the map."""
    in_force = _of_anybody(policy)
    return in_force, in_force if policy.would is None else _of_anybody(policy.would)


def _of_anybody(policy: SubjectPolicy) -> Grants:
    """A direction that is not enforced allows everybody everything."""
    is_open = frozenset(
        (direction, ANY_PROTOCOL, 0, 0) for direction in Direction if direction not in policy.enforced
    )
    return _strongest([policy.anybody, Grants(allow=is_open)], Grants())


def _ways(parts: list[Grants], all_parts: list[Grants], beneath: _Ways) -> _Ways:
    in_force = _strongest(parts, beneath[0])
    if beneath[0] is beneath[1]:
        return in_force, in_force
    return in_force, _strongest(all_parts, beneath[1])


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


def _entries(identity: int, ways: _Ways) -> dict[PolicyKey, PolicyEntry]:
    in_force, would = ways
    if in_force is would:
        entries = dict.fromkeys((_key(identity, place) for place in in_force.allow), ALLOW)
        entries.update(dict.fromkeys((_key(identity, place) for place in in_force.deny), DENY))
        return entries
    return {
        _key(identity, place): _ENTRIES[
            _said(in_force, place, PolicyFlag.ALLOW, PolicyFlag.DENY)
            | _said(would, place, PolicyFlag.WOULD_ALLOW, PolicyFlag.WOULD_DENY)
        ]
        for place in in_force.allow | in_force.deny | would.allow | would.deny
    }


def _said(grants: Grants, place: Place, allow: PolicyFlag, deny: PolicyFlag) -> PolicyFlag:
    """What holds there, by the place itself or by one that covers it: the narrower entry hides the wider."""
    covering = wider(place) | {place}
    if not grants.deny.isdisjoint(covering):
        return deny
    return PolicyFlag(0) if grants.allow.isdisjoint(covering) else allow


def _key(identity: int, place: Place) -> PolicyKey:
    direction, protocol, port, bits = place
    return PolicyKey(direction, identity, protocol, port, bits)
