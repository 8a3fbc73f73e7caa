"""Which maps a program looks into while a packet runs through it.

The kernel's own means do not tell: where programs are translated to machine code, a lookup is a few instructions
among others, or a direct call. So the instructions that are about to be loaded are given a few more: in front of each
lookup the map's address, which is in r1, goes into a trace. r0 and r3 to r5 are free there, because the call
neither reads nor keeps them; nothing else about the program changes.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from datapath import syscall
from datapath.attributes import MapType, ProgramType
from datapath.compile import relocate
from datapath.features import probe
from datapath.instruction import LOAD_64, SIZE, add, call, copy, encode, leave, load_map, move
from datapath.loader import obtain
from datapath.maps import MAPS
from datapath.pins import open_map
from tests.kernel.harness import CACHE

POLICY = "a policy"
"""One of the maps in `policies`: the only ones that programs reach and that have no name."""

LOOKUP = 1
_INSTRUCTION = struct.Struct("=BBhi")
_CALL, _LEAVE, _FAR_JUMP = 0x85, 0x95, 0x06
_JUMPS = (5, 6)
"""Classes of instructions."""
_ROOM = 64
_TRACE = struct.Struct(f"={1 + _ROOM}Q")
"""How many lookups there were, and the addresses of their maps in turn."""


class Lookups:
    """Both programs over the pinned maps, with a trace."""

    def __init__(self, root: Path) -> None:
        self._opened = ExitStack()
        self._trace = syscall.create_map(MapType.ARRAY, 4, _TRACE.size, 1, name="trace")
        self._opened.callback(os.close, self._trace)
        maps = {}
        for name in MAPS:
            maps[name] = open_map(root, name)
            self._opened.callback(os.close, maps[name])
        self.code, _ = obtain(CACHE, probe())
        self.programs = {
            name: self._load(traced(relocate(code, maps), self._trace), name)
            for name, code in self.code.items()
        }
        self._names = self._addresses(maps)

    def close(self) -> None:
        self._opened.close()

    def take(self) -> list[str]:
        """The maps that were looked into since the last time, in turn."""
        number, *addresses = _TRACE.unpack(syscall.lookup(self._trace, bytes(4), _TRACE.size) or b"")
        assert number <= _ROOM
        syscall.update(self._trace, bytes(4), bytes(_TRACE.size))
        return [self._names.get(address, POLICY) for address in addresses[:number]]

    def _load(self, code: bytes, name: str) -> int:
        program = syscall.load_program(ProgramType.SCHED_CLS, code, name=f"traced_{name}")
        self._opened.callback(os.close, program)
        return program

    def _addresses(self, maps: Mapping[str, int]) -> dict[int, str]:
        """Names by address, from a program that notes each map in turn."""
        note_all = b"".join(load_map(1, fd) + note(self._trace) for fd in maps.values())
        syscall.run_program(self._load(note_all + move(0, 0) + leave(), "names"), bytes(64))
        number, *addresses = _TRACE.unpack(syscall.lookup(self._trace, bytes(4), _TRACE.size) or b"")
        assert number == len(maps)
        syscall.update(self._trace, bytes(4), bytes(_TRACE.size))
        return dict(zip(addresses, maps, strict=False))


def note(trace: int) -> bytes:
    """trace[1 + trace[0]++ % ROOM] = r1"""
    return (
        encode(LOAD_64, 3, 2, immediate=trace)  # r3 = the value of the map's first entry
        + encode(0)
        + encode(0x79, 4, 3)  # r4 = *(u64 *)r3
        + copy(5, 4)
        + add(5, 1)
        + encode(0x7B, 3, 5)  # *(u64 *)r3 = r5
        + encode(0x57, 4, immediate=_ROOM - 1)  # r4 &= ROOM - 1
        + encode(0x67, 4, immediate=3)  # r4 <<= 3
        + encode(0x0F, 3, 4)  # r3 += r4
        + encode(0x7B, 3, 1, offset=8)  # *(u64 *)(r3 + 8) = r1
    )


def traced(program: bytes, trace: int) -> bytes:
    """The program with a note in front of each lookup. Who jumped to a lookup jumps to its note."""
    size = len(note(trace)) // SIZE
    places, place = [], 0
    for code in instructions(program):
        places.append(place)
        place += 1 + (size if is_lookup(code) else 0)
    longer = b""
    for index, (code, registers, offset, immediate) in enumerate(instructions(program)):
        if is_lookup((code, registers, offset, immediate)):
            longer += note(trace)
        if code & 7 in _JUMPS and code not in (_CALL, _LEAVE):
            assert code != _FAR_JUMP
            offset = places[index + 1 + offset] - len(longer) // SIZE - 1
        longer += _INSTRUCTION.pack(code, registers, offset, immediate)
    return longer


def helpers(program: bytes) -> set[int]:
    """The kernel's functions that it calls; functions of its own it has none."""
    calls = [(registers, number) for code, registers, _, number in instructions(program) if code == _CALL]
    assert not any(registers for registers, _ in calls)
    return {number for _, number in calls}


def instructions(program: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Opcode, registers, offset, immediate."""
    return _INSTRUCTION.iter_unpack(program)


def is_lookup(instruction: tuple[int, int, int, int]) -> bool:
    return _INSTRUCTION.pack(*instruction) == call(LOOKUP)
