"""Ranges of ports as prefixes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.flow import Direction
from policy.ports import covering, prefixes, wider

IN = Direction.INGRESS


@pytest.mark.parametrize(
    ("first", "last", "parts"),
    [
        (80, 80, [(80, 16)]),
        (0, 65535, [(0, 0)]),
        (8000, 8999, [(8000, 10), (8064, 9), (8192, 7), (8704, 8), (8960, 11), (8992, 13)]),
        (1024, 2047, [(1024, 6)]),
        (
            80,
            444,
            [(80, 12), (96, 11), (128, 9), (256, 9), (384, 11), (416, 12), (432, 13), (440, 14), (444, 16)],
        ),
        (65535, 65535, [(65535, 16)]),
    ],
)
def test_ranges(first: int, last: int, parts: list[tuple[int, int]]) -> None:
    assert list(prefixes(first, last)) == parts


@given(st.integers(0, 65535), st.integers(0, 65535))
def test_parts_follow_each_other_and_are_aligned(one: int, other: int) -> None:
    first, last = sorted((one, other))
    found = list(prefixes(first, last))
    assert len(found) <= 30
    at = first
    for port, bits in found:
        assert (port, port % size_of(bits)) == (at, 0)
        at += size_of(bits)
    assert at == last + 1
    for (port, bits), (_, bits_after) in pairwise(found):
        assert bits != bits_after or port % (2 * size_of(bits)), "these two are one prefix"


def size_of(bits: int) -> int:
    return 1 << (16 - bits)


def test_a_place_is_covered_by_every_shorter_prefix_its_protocol_and_everything() -> None:
    found = list(covering(IN, 6, 80, 16))
    assert found[0] == (IN, 6, 80, 16)
    assert found[1:3] == [(IN, 6, 80, 15), (IN, 6, 80, 14)]
    assert found[-2:] == [(IN, 6, 0, 0), (IN, 0, 0, 0)]
    assert len(found) == 18


def test_nothing_covers_everything() -> None:
    assert list(covering(IN, 0, 0, 0)) == [(IN, 0, 0, 0)]
    assert wider((IN, 0, 0, 0)) == frozenset()
    assert wider((IN, 6, 0, 0)) == {(IN, 0, 0, 0)}
