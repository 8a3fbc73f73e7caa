"""Slots: given out once each, all of them, and again when given back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.slots import LAST_SLOT, Slots
from model.errors import Exhausted


def test_slot_zero_is_nobody_s() -> None:
    assert Slots().take()[0] == 1


@given(st.sets(st.integers(1, 30)), st.lists(st.one_of(st.none(), st.integers(0, 10)), max_size=60))
def test_no_slot_has_two_owners(used: set[int], happenings: list[int | None]) -> None:
    """None: one is taken; a number: one of those taken is given back."""
    slots, owned = Slots.without(used), sorted(used)
    for happening in happenings:
        if happening is None:
            slot, slots = slots.take()
            assert slot not in owned and slot > 0
            owned.append(slot)
        elif owned:
            slots = slots.give_back(owned.pop(happening % len(owned)))
    rest = set()
    while slots.freed is not None:
        slot, slots = slots.take()
        rest.add(slot)
    assert rest.isdisjoint(owned)
    assert rest | set(owned) == set(range(1, slots.fresh)), "none is lost"


def test_when_none_is_left_it_says_why() -> None:
    slots = Slots.without(range(1, LAST_SLOT + 1))
    with pytest.raises(Exhausted, match="4095 different identities"):
        slots.take()
    slot, slots = slots.give_back(77).take()
    assert slot == 77
    with pytest.raises(Exhausted):
        slots.take()
