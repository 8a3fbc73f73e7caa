"""Maps have a size each, which may be chosen where the programs do not depend on it."""

from __future__ import annotations

import pytest

from datapath.maps import INNER, MAPS, full, sized
from model.errors import InvalidInput


def test_sizes_are_the_usual_ones_unless_chosen() -> None:
    specs = sized({"endpoints": 7, "inner": 3})
    assert specs.keys() == {*MAPS, "inner"}
    assert (specs["endpoints"].max_entries, specs["inner"].max_entries) == (7, 3)
    assert all(specs[name] == spec for name, spec in MAPS.items() if name != "endpoints")
    assert specs["inner"].key_size == INNER.key_size


@pytest.mark.parametrize("sizes", [{"nonsense": 1}, {"epoch": 2}, {"metrics": 9}, {"ct4": 0}])
def test_a_size_that_makes_no_sense_is_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(InvalidInput):
        sized(sizes)


def test_a_full_map_is_named_with_what_to_do() -> None:
    assert (
        str(full("ct4", 9)) == "map ct4 is full (9 entries) (`ciliate map list` shows how full each map is)"
    )
