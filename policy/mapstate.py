"""What a policy map holds, in host order, and how it follows from a resolved policy. PURE.

The datapath asks a map twice: for the peer's identity and for 0, which stands for anybody; each time the entry with
the longest match answers, and a deny in either answer wins. So that the longest match of one identity is
the right answer for it, every entry holds the strongest verdict of all entries of that identity that cover it:
a broad deny reaches into every narrower allow."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from model.flow import Direction
from model.labels import Labels
from policy.resolve import Filter, SubjectPolicy
from policy.rule import ANY_PROTOCOL, Service
from policy.selector import Selector

ANYBODY = 0


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

_Place = tuple[Direction, int, int, int]
"""A key without its identity: direction, protocol, port, port_bits."""


def map_state(policy: SubjectPolicy, select: Select) -> dict[PolicyKey, PolicyEntry]:
    """`select`: the identities that a selector selects now."""
    chosen: dict[int, list[Filter]] = {}
    for part in policy.filters:
        for identity in (ANYBODY,) if part.peer is None else select(part.peer):
            chosen.setdefault(identity, []).append(part)
    state: dict[PolicyKey, PolicyEntry] = {}
    known: dict[tuple[Filter, ...], list[tuple[_Place, PolicyEntry]]] = {}
    for identity, parts in chosen.items():
        alike = tuple(parts)
        if alike not in known:
            known[alike] = _entries(alike)
        for (direction, protocol, port, bits), entry in known[alike]:
            state[PolicyKey(direction, identity, protocol, port, bits)] = entry
    for direction in Direction:
        if direction not in policy.enforced:
            state.setdefault(PolicyKey(direction), ALLOW)
    return state


def identity_delta(policy: SubjectPolicy, identity: int, labels: Labels) -> dict[PolicyKey, PolicyEntry]:
    """What to add to the map when an identity appears. When one goes, every key that names it goes."""
    verdicts: dict[Selector, bool] = {}
    parts = []
    for part in policy.filters:
        if part.peer is None:
            continue
        if part.peer not in verdicts:
            verdicts[part.peer] = part.peer.matches(labels)
        if verdicts[part.peer]:
            parts.append(part)
    return {
        PolicyKey(direction, identity, protocol, port, bits): entry
        for (direction, protocol, port, bits), entry in _entries(tuple(parts))
    }


def _entries(parts: tuple[Filter, ...]) -> list[tuple[_Place, PolicyEntry]]:
    """The entries of one identity, each with the strongest verdict of those that cover it."""
    denied: dict[_Place, bool] = {}
    for part in parts:
        for protocol, port, bits in places(part.service):
            place = (part.direction, protocol, port, bits)
            denied[place] = denied.get(place, False) or part.deny
    if not any(denied.values()):
        return [(place, ALLOW) for place in denied]
    return [
        (place, DENY if any(denied.get(wider, False) for wider in covering(place)) else ALLOW)
        for place in denied
    ]


def covering(place: _Place) -> Iterator[_Place]:
    """A place and all that cover it, narrowest first."""
    direction, protocol, port, bits = place
    if protocol != ANY_PROTOCOL:
        for length in range(bits, -1, -1):
            yield direction, protocol, port & ~(0xFFFF >> length) & 0xFFFF, length
    yield direction, ANY_PROTOCOL, 0, 0


@lru_cache(maxsize=4096)
def places(service: Service) -> tuple[tuple[int, int, int], ...]:
    """(protocol, port, bits): the fewest prefixes that make up the range, at most 30."""
    if service.protocol == ANY_PROTOCOL:
        return ((ANY_PROTOCOL, 0, 0),)
    found = []
    first, end = service.first, service.last + 1
    while first < end:
        size = first & -first or 1 << 16
        while size > end - first:
            size >>= 1
        found.append((service.protocol, first, 17 - size.bit_length()))
        first += size
    return tuple(found)
