"""eBPF instructions as bytes: enough to ask the kernel what it can do, and to relocate maps. PURE.

Each function gives the 8 (or 16) bytes of one instruction; a program is their concatenation.
Source of the numbers: Documentation/bpf/standardization/instruction-set.rst.
"""

from __future__ import annotations

import struct

SIZE = 8
LOAD_64 = 0x18
"""Opcode of the two-slot load of a 64-bit constant; with PSEUDO_MAP_FD as source it loads a map."""
PSEUDO_MAP_FD = 1

_FORMAT = struct.Struct("=BBhi")


def encode(code: int, destination: int = 0, source: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    return _FORMAT.pack(code, destination | source << 4, offset, immediate)


def move(destination: int, value: int) -> bytes:
    """rD = value (sign-extended 32 bits)"""
    return encode(0xB7, destination, immediate=value)


def copy(destination: int, source: int) -> bytes:
    """rD = rS"""
    return encode(0xBF, destination, source)


def add(destination: int, value: int) -> bytes:
    """rD += value"""
    return encode(0x07, destination, immediate=value)


def store(destination: int, offset: int, value: int) -> bytes:
    """*(u64 *)(rD + offset) = value"""
    return encode(0x7A, destination, offset=offset, immediate=value)


def load_map(destination: int, fd: int) -> bytes:
    """rD = the map behind a file descriptor"""
    return encode(LOAD_64, destination, PSEUDO_MAP_FD, immediate=fd) + encode(0)


def call(helper: int) -> bytes:
    """r0 = helper(r1, ...)"""
    return encode(0x85, immediate=helper)


def leave() -> bytes:
    """return r0"""
    return encode(0x95)


def map_references(program: bytes) -> list[tuple[int, int]]:
    """(byte offset of the immediate, file descriptor) of every instruction that loads a map."""
    found = []
    position = 0
    while position < len(program):
        code, registers, _, immediate = _FORMAT.unpack_from(program, position)
        if code == LOAD_64:
            if registers >> 4 == PSEUDO_MAP_FD:
                found.append((position + 4, immediate))
            position += SIZE
        position += SIZE
    return found
