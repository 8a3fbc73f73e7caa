"""How a pool is divided among nodes. PURE.

A node that uses a pool claims one slice of it and gives addresses of that alone, so that no two nodes ask each other
before a container starts; it claims the next when that is full."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from ipaddress import ip_network

from model.network import IPAddress, IPNetwork, overlap

_BITS = 3
"""A pool no larger than a node's slice is cut into 8."""

_SMALLEST_BITS = 2
"""Addresses of a slice, as bits: a pool for fewer is one slice."""


def slice_length(pool: IPNetwork, node_prefix: int) -> int:
    """The prefix length of the pool's slices. `node_prefix`: what a node gets of the cluster's pools."""
    if pool.prefixlen < node_prefix:
        return node_prefix
    longest = pool.max_prefixlen - _SMALLEST_BITS
    return max(pool.prefixlen, min(pool.prefixlen + _BITS, longest))


def slices_of(pool: IPNetwork, length: int, range: IPNetwork | None = None) -> Iterator[IPNetwork]:
    """From the lowest up; with `range` only those that give addresses of it. A range smaller than a slice is one:
    so two nodes can be given ranges that lie side by side."""
    whole = pool if range is None else range
    if length <= whole.prefixlen:
        yield whole
    else:
        yield from whole.subnets(new_prefix=length)


def slices_around(address: IPAddress, length: int) -> tuple[IPNetwork, ...]:
    """Those that one address may be claimed with, the best first: its slice, or it alone where others have a part of
    that."""
    return ip_network((address, length), strict=False), ip_network(address)


def holder_of(slice: IPNetwork, held: Collection[tuple[IPNetwork, str]]) -> tuple[IPNetwork, str] | None:
    """A held slice that has an address in common with this one, and its node."""
    return next(((other, node) for other, node in held if overlap(slice, other)), None)
