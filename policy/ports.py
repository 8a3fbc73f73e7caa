"""Ports as a policy map holds them: ranges as prefixes, and what covers what. PURE."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from model.flow import Direction

ANY_PROTOCOL = 0
LAST_PORT = 65535

Place = tuple[Direction, int, int, int]
"""A policy key without its identity: direction, protocol, port, port_bits."""


def prefixes(first: int, last: int) -> Iterator[tuple[int, int]]:
    """(port, bits): the fewest that make up the range, both ends included; at most 30."""
    end = last + 1
    while first < end:
        size = first & -first or LAST_PORT + 1
        while size > end - first:
            size >>= 1
        yield first, 17 - size.bit_length()
        first += size


def covering(direction: Direction, protocol: int, port: int, bits: int) -> Iterator[Place]:
    """A place and all that cover it, narrowest first."""
    if protocol != ANY_PROTOCOL:
        for length in range(bits, -1, -1):
            yield direction, protocol, port & ~(LAST_PORT >> length) & LAST_PORT, length
    yield direction, ANY_PROTOCOL, 0, 0


@lru_cache(maxsize=4096)
def wider(place: Place) -> frozenset[Place]:
    """All that cover it, save itself."""
    return frozenset(covering(*place)) - {place}
