"""bpf(2): what the kernel does with what we hand it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

import pytest

from datapath import syscall
from datapath.attributes import MapType, ProgramType
from datapath.instruction import call, leave, load_map, map_references, move
from tests.conftest import require
from tests.kernel.datapath.assembly import DROP, PASS, answering, counting, load

KEY = bytes(4)


@pytest.fixture
def array() -> Iterator[int]:
    require(os.geteuid() == 0, "root, to make BPF maps")
    fd = syscall.create_map(MapType.ARRAY, 4, 8, 1, name="counter")
    yield fd
    os.close(fd)


def test_a_program_runs_on_a_packet_and_tells_its_verdict(array: int) -> None:
    program = load(counting(array, DROP))
    run = syscall.run_program(program, bytes(60), repeat=3)
    assert (run.result, len(run.data)) == (DROP, 60)
    assert syscall.lookup(array, KEY, 8) == (3).to_bytes(8, "little")
    os.close(program)


def test_a_context_comes_back_as_the_program_left_it(array: int) -> None:
    """`mark` is the third word of struct __sk_buff."""
    program = load(answering(PASS))
    context = bytes(8) + (7).to_bytes(4, "little") + bytes(180)
    run = syscall.run_program(program, bytes(60), context=context)
    assert run.context[8:12] == context[8:12]
    os.close(program)


def test_a_refused_program_brings_the_verifiers_words(array: int) -> None:
    with pytest.raises(OSError, match="program 'bad': bpf PROG_LOAD") as refusal:
        syscall.load_program(ProgramType.SCHED_CLS, call(99999) + leave(), name="bad")
    assert refusal.value.errno == errno.EINVAL
    assert "invalid func" in str(refusal.value)


def test_an_error_names_its_command(array: int) -> None:
    with pytest.raises(OSError, match="bpf MAP_UPDATE_ELEM: Argument list too long"):
        syscall.update(array, (1).to_bytes(4, "little"), bytes(8))
    with pytest.raises(OSError, match="bpf OBJ_GET: No such file"):
        syscall.get_pinned("/sys/fs/bpf/no such thing")


def test_a_batch_tells_how_far_it_came(array: int) -> None:
    keys = b"".join(number.to_bytes(4, "little") for number in (0, 0, 5))
    with pytest.raises(syscall.BatchError) as stopped:
        syscall.update_batch(array, keys, bytes(24), 3)
    assert (stopped.value.done, stopped.value.errno) == (2, errno.E2BIG)


def test_what_a_map_and_a_program_are_can_be_asked(array: int) -> None:
    info = syscall.map_info(array)
    assert (info.type, info.key_size, info.value_size, info.max_entries) == (MapType.ARRAY, 4, 8, 1)
    assert info.name == b"counter"
    same = syscall.map_by_id(info.id)
    assert syscall.map_info(same).id == info.id
    os.close(same)
    program = load(counting(array, PASS), name="a_name_that_is_too_long")
    about = syscall.program_info(program)
    assert (about.name, about.nr_map_ids) == (b"a_name_that_is_", 1)
    os.close(program)


def test_keys_are_walked_to_the_end(array: int) -> None:
    assert syscall.next_key(array, None, 4) == KEY
    assert syscall.next_key(array, KEY, 4) is None


def test_references_to_maps_are_found_and_nothing_else() -> None:
    code = move(1, 77) + load_map(2, 77) + load_map(1, 78) + leave()
    assert map_references(code) == [(12, 77), (28, 78)]
