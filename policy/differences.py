"""What other rules would change: between whom, and where. PURE.

Both ends count: that one of them allows more changes nothing while the other does not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from model.flow import Direction
from policy.areas import Areas
from policy.mapstate import Select
from policy.ports import Place
from policy.resolve import Grants, SubjectPolicy

Policies = Mapping[int, SubjectPolicy]
"""By identity."""


_BETWEEN_PAUSES = 100
"""Pairs: a fraction of a millisecond."""


class Kind(StrEnum):
    """What becomes of it. AUDITED: it passes and is told, because only audited rules deny it."""

    DENIED = "denied"
    AUDITED = "audited"
    ALLOWED = "allowed"


@dataclass(frozen=True, slots=True)
class Change:
    """`subject`: the end whose rules make the difference, by their `direction`. `areas`: where, a set of Areas."""

    kind: Kind
    direction: Direction
    subject: int
    peer: int
    areas: int


def areas_of(*policies: Policies) -> Areas:
    distinct = {
        id(policy): policy
        for each in policies
        for one in each.values()
        for policy in (one, one.would)
        if policy is not None
    }
    places: set[Place] = set()
    for policy in distinct.values():
        for grants in (policy.anybody, *policy.peers.values()):
            places |= grants.allow | grants.deny
    return Areas(places)


def differences(
    before: Policies,
    after: Policies,
    peers: Collection[int],
    select: Select,
    may_meet: Callable[[int, int], bool],
    areas: Areas,
    pause: Callable[[], None] = lambda: None,
) -> Iterator[list[Change]]:
    """For each ordered pair between which something changes, what does. `before` and `after` are about the same
    identities; `peers` are all that may be at the other end, these too. `select` knows the selectors of both.
    `may_meet(opener, responder)`: by their networks. `pause` is called every now and then."""
    reach = _Reach(select, areas)
    changed = {number for number, policy in before.items() if after[number] is not policy}
    for sender in changed:
        for receiver in _paced(peers, pause):
            if may_meet(sender, receiver) and (found := _between(sender, receiver, before, after, reach)):
                yield found
    for receiver in changed:
        for sender in _paced(peers, pause):
            if sender in changed or not may_meet(sender, receiver):
                continue
            if found := _between(sender, receiver, before, after, reach):
                yield found


def _paced(peers: Iterable[int], pause: Callable[[], None]) -> Iterator[int]:
    for number, peer in enumerate(peers):
        if not number % _BETWEEN_PAUSES:
            pause()
        yield peer


def _between(sender: int, receiver: int, before: Policies, after: Policies, reach: _Reach) -> list[Change]:
    """The sender's rules are named where they make the difference already."""
    old, new = (_Views.of(sender, receiver, policies, reach) for policies in (before, after))
    found = []
    for kind, areas, out in (
        (Kind.DENIED, old.passes & ~new.passes, new.out),
        (Kind.AUDITED, new.told & ~old.told, new.would_out),
        (Kind.ALLOWED, new.passes & ~old.passes, old.out),
    ):
        if areas & ~out:
            found.append(Change(kind, Direction.EGRESS, sender, receiver, areas & ~out))
        if areas & out:
            found.append(Change(kind, Direction.INGRESS, receiver, sender, areas & out))
    return found


@dataclass(frozen=True, slots=True)
class _Views:
    """What the sender's rules let out, and what both ends' let pass; `would`: if audited rules were in force."""

    out: int
    passes: int
    would_out: int
    would_pass: int

    @classmethod
    def of(cls, sender: int, receiver: int, policies: Policies, reach: _Reach) -> _Views:
        """Who has no rules forbids nothing."""
        out, into = policies.get(sender), policies.get(receiver)
        may_leave = reach.allowed(out, Direction.EGRESS, receiver)
        passes = may_leave & reach.allowed(into, Direction.INGRESS, sender)
        if (out is None or out.would is None) and (into is None or into.would is None):
            return cls(may_leave, passes, may_leave, passes)
        would_leave = reach.allowed(out and (out.would or out), Direction.EGRESS, receiver)
        would_enter = reach.allowed(into and (into.would or into), Direction.INGRESS, sender)
        return cls(may_leave, passes, would_leave, would_leave & would_enter)

    @property
    def told(self) -> int:
        return self.passes & ~self.would_pass


class _Reach:
    """Where each policy allows each peer. Peers that the same selectors select are asked about once."""

    def __init__(self, select: Select, areas: Areas) -> None:
        self.areas = areas
        self._select = select
        self._grants: dict[int, dict[int, tuple[Grants, ...]]] = {}
        self._known: dict[tuple[int, Direction, tuple[int, ...]], int] = {}

    def allowed(self, policy: SubjectPolicy | None, direction: Direction, peer: int) -> int:
        if policy is None:
            return self.areas.all
        if id(policy) not in self._grants:
            self._grants[id(policy)] = self._by_peer(policy)
        parts = self._grants[id(policy)].get(peer, ())
        key = (id(policy), direction, tuple(map(id, parts)))
        if key not in self._known:
            self._known[key] = self._areas(policy, direction, parts)
        return self._known[key]

    def _by_peer(self, policy: SubjectPolicy) -> dict[int, tuple[Grants, ...]]:
        found: dict[int, tuple[Grants, ...]] = {}
        for selector, grants in policy.peers.items():
            for number in self._select(selector):
                found[number] = (*found.get(number, ()), grants)
        return found

    def _areas(self, policy: SubjectPolicy, direction: Direction, parts: tuple[Grants, ...]) -> int:
        """A deny is stronger than every allow, wherever both are."""
        allow = 0 if direction in policy.enforced else self.areas.all
        deny = 0
        for grants in (policy.anybody, *parts):
            for place in grants.allow:
                if place[0] is direction:
                    allow |= self.areas.of(place)
            for place in grants.deny:
                if place[0] is direction:
                    deny |= self.areas.of(place)
        return allow & ~deny
