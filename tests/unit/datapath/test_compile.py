"""What is compiled, when again, and where the maps of a program come in."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from datapath import maps
from datapath.compile import (
    FAKE_FDS,
    PROGRAMS,
    SOURCES,
    build,
    cache_key,
    read_cached,
    relocate,
    write_cached,
)
from datapath.features import every_build
from datapath.instruction import leave, load_map, map_references, move
from model.errors import Unavailable

CODE = {name: load_map(1, number) + leave() for number, name in enumerate(PROGRAMS)}


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SOURCES, tmp_path / "bpf"))


def test_the_same_sources_have_the_same_key_wherever_they_lie(sources: Path) -> None:
    assert cache_key(sources, ["-DA=1", "-DB=2"]) == cache_key(SOURCES, ["-DB=2", "-DA=1"])


def test_a_change_of_any_file_is_another_key(sources: Path) -> None:
    before = cache_key(sources, [])
    for path in sorted(sources.iterdir()):
        text = path.read_text()
        path.write_text(text + "\n")
        assert cache_key(sources, []) != before, path.name
        path.write_text(text)
    assert cache_key(sources, []) == before
    (sources / "new.h").write_text("")
    assert cache_key(sources, []) != before


def test_another_feature_is_another_key() -> None:
    keys = {cache_key(SOURCES, features.flags()) for features in every_build()}
    assert len(keys) == 4


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    assert read_cached(tmp_path / "cache", "key") is None
    write_cached(tmp_path / "cache", "key", CODE)
    assert read_cached(tmp_path / "cache", "key") == CODE
    assert read_cached(tmp_path / "cache", "other") is None
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["key.bpf"]


def test_a_damaged_file_is_as_good_as_none(tmp_path: Path) -> None:
    write_cached(tmp_path, "key", CODE)
    file = tmp_path / "key.bpf"
    whole = file.read_bytes()
    for damaged in (
        b"",
        b"\n",
        whole[:40],
        whole[:-1],
        whole + b" ",
        whole.replace(b"A", b"B", 1),
        b"\xff" * 99,
    ):
        file.write_bytes(damaged)
        assert read_cached(tmp_path, "key") is None
    file.write_bytes(whole)
    assert read_cached(tmp_path, "key") == CODE


def test_programs_are_compiled_against_maps_by_name() -> None:
    seen: list[tuple[str, Sequence[str]]] = []

    def compiler(source: Path, flags: Sequence[str]) -> dict[str, bytes]:
        seen.append((source.name, flags))
        return {**CODE, "some_other_function": b""}

    assert build(SOURCES, ["-DX"], compiler) == CODE
    (name, flags), (other, same) = seen
    assert (name, other) == ("container.c", "overlay.c")
    assert flags == same
    assert {f"-DMAP_FD_{map}={fd}" for map, fd in FAKE_FDS.items()} | {"-DX", f"-I{SOURCES}"} == set(flags)
    assert FAKE_FDS.keys() == maps.MAPS.keys()


def test_a_program_that_is_missing_is_named() -> None:
    with pytest.raises(Unavailable, match=r"container.c has no function from_container"):
        build(SOURCES, [], lambda source, flags: {})
    assert set(PROGRAMS) == set(CODE)


def test_real_descriptors_take_the_place_of_the_names() -> None:
    code = load_map(1, FAKE_FDS["ct4"]) + move(3, FAKE_FDS["ct4"]) + load_map(2, FAKE_FDS["epoch"]) + leave()
    relocated = relocate(code, {"ct4": 11, "epoch": 12})
    assert [fd for _, fd in map_references(relocated)] == [11, 12]
    assert relocated == load_map(1, 11) + move(3, FAKE_FDS["ct4"]) + load_map(2, 12) + leave()


def test_a_map_of_someone_else_is_refused() -> None:
    with pytest.raises(Unavailable, match="none of ciliate's"):
        relocate(load_map(1, 5) + leave(), {})
