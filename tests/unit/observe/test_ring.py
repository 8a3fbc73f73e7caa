"""A bounded ring: readers come and go, the writer never waits."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from observe.ring import Cursor, Ring


def test_a_reader_sees_what_comes_after_it() -> None:
    ring: Ring[str] = Ring(4)
    ring.append("before")
    reader = Cursor(ring)
    ring.extend(["one", "two"])

    assert reader.behind == 2
    assert reader.take(10) == (0, ["one", "two"])
    assert reader.take(10) == (0, [])


def test_a_slow_reader_is_told_how_much_it_missed() -> None:
    ring: Ring[int] = Ring(3)
    reader = Cursor(ring)
    ring.extend(range(10))

    assert reader.take(2) == (7, [7, 8])
    assert reader.take(2) == (0, [9])


def test_readers_do_not_disturb_each_other() -> None:
    ring: Ring[int] = Ring(8)
    quick, slow = Cursor(ring), Cursor(ring)
    ring.extend([1, 2, 3])
    quick.take(3)
    ring.append(4)

    assert quick.take(9) == (0, [4])
    assert slow.take(9) == (0, [1, 2, 3, 4])


def test_a_reader_can_begin_in_the_past() -> None:
    ring: Ring[int] = Ring(4)
    ring.extend(range(6))

    assert Cursor(ring, ring.oldest).take(10) == (0, [2, 3, 4, 5])
    assert Cursor(ring, 0).take(10) == (2, [2, 3, 4, 5])


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 7), st.lists(st.one_of(st.integers(1, 12).map(lambda n: -n), st.integers(1, 9))))
def test_every_item_is_read_once_in_order_or_counted_as_lost(capacity: int, story: list[int]) -> None:
    """Negative: so many are written. Positive: so many are taken."""
    ring: Ring[int] = Ring(capacity)
    reader = Cursor(ring)
    expected = 0
    for step in story:
        if step < 0:
            ring.extend(range(ring.written, ring.written - step))
            continue
        lost, items = reader.take(step)
        expected += lost
        assert items == list(range(expected, expected + len(items)))
        expected += len(items)
    assert reader.behind == ring.written - expected
