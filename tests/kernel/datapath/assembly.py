"""Programs written by hand, for tests of what carries programs rather than of programs."""

from __future__ import annotations

from datapath import syscall
from datapath.attributes import ProgramType
from datapath.instruction import add, call, copy, encode, leave, load_map, move, store

PASS, DROP = 0, 2
"""TC_ACT_OK and TC_ACT_SHOT."""

_LOOKUP, _RING_OUTPUT = 1, 130


def answering(verdict: int) -> bytes:
    return move(0, verdict) + leave()


def counting(array: int, verdict: int) -> bytes:
    """Adds one to the first u64 of an array map, then answers."""
    skip_if_null = encode(0x15, 0, offset=2)
    atomic_add = encode(0xDB, 0, 1)
    return (
        store(10, -8, 0)
        + load_map(1, array)
        + copy(2, 10)
        + add(2, -8)
        + call(_LOOKUP)
        + skip_if_null
        + move(1, 1)
        + atomic_add
        + answering(verdict)
    )


def ringing(ring: int, size: int, *, lost: int) -> bytes:
    """Writes `size` bytes (a multiple of 8, the first eight its packet's length) to a ring; counts in the
    array map `lost` what finds it full."""
    read_length = encode(0x61, 1, 1, offset=0)
    save = encode(0x7B, 10, 1, offset=-size)
    clear = b"".join(store(10, offset, 0) for offset in range(-size + 8, 0, 8))
    rest = counting(lost, PASS)
    done_if_zero = encode(0x15, 0, offset=len(rest) // 8 - 2)
    return (
        read_length
        + save
        + clear
        + load_map(1, ring)
        + copy(2, 10)
        + add(2, -size)
        + move(3, size)
        + move(4, 0)
        + call(_RING_OUTPUT)
        + done_if_zero
        + rest
    )


def load(code: bytes, name: str = "test") -> int:
    return syscall.load_program(ProgramType.SCHED_CLS, code, name=name)
