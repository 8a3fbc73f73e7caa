"""bpf(2) by ctypes: maps, programs, pins. Thin: bytes in, bytes out, file descriptors as numbers.

Every failure is an OSError that names the command. Nothing is kept between calls and no buffer is
shared, so any thread may call; the system call itself runs without the interpreter's lock.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from dataclasses import dataclass

from datapath.attributes import (
    NAME_LENGTH,
    REPLACE,
    AttachType,
    Command,
    IdToFd,
    InfoByFd,
    MapCreate,
    MapInfo,
    MapRead,
    MapReadBatch,
    MapType,
    MapWrite,
    MapWriteBatch,
    Pin,
    ProgAttach,
    ProgInfo,
    ProgLoad,
    ProgQuery,
    ProgramType,
    ProgTestRun,
)

SYSCALL_NUMBERS = {"x86_64": 321, "aarch64": 280}
NOT_SUPPORTED = 524
"""The kernel's own ENOTSUPP: it reaches callers of map operations that a map type lacks."""

_LOG_SIZES = (1 << 16, 1 << 20, 1 << 24)
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_long]
_libc.syscall.restype = ctypes.c_long


class BatchError(OSError):
    """A batch stopped; `done` entries before it took effect."""

    done: int = 0


def bpf(command: Command, attributes: ctypes.Structure) -> int:
    """The system call itself: what it returns, or OSError."""
    number = SYSCALL_NUMBERS.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"bpf(2) has no known number on {platform.machine()}")
    result: int = _libc.syscall(number, command, ctypes.byref(attributes), ctypes.sizeof(attributes))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"bpf {command.name}: {os.strerror(code)}")
    return result


def create_map(
    kind: MapType,
    key_size: int,
    value_size: int,
    max_entries: int,
    *,
    flags: int = 0,
    name: str = "",
    inner: int = 0,
) -> int:
    """A new map's descriptor. `inner`: descriptor of a map whose form all inner maps have."""
    return bpf(
        Command.MAP_CREATE,
        MapCreate(kind, key_size, value_size, max_entries, flags, inner, 0, name.encode()[: NAME_LENGTH - 1]),
    )


def lookup(fd: int, key: bytes, value_size: int) -> bytes | None:
    """`value_size` is that of all CPUs together for per-CPU maps, each rounded up to 8."""
    buffer = ctypes.create_string_buffer(value_size)
    try:
        bpf(Command.MAP_LOOKUP_ELEM, MapRead(fd, key, ctypes.addressof(buffer), 0))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    return buffer.raw


def update(fd: int, key: bytes, value: bytes) -> None:
    bpf(Command.MAP_UPDATE_ELEM, MapWrite(fd, key, value, 0))


def delete(fd: int, key: bytes) -> bool:
    """False if there was no such key."""
    try:
        bpf(Command.MAP_DELETE_ELEM, MapWrite(fd, key, None, 0))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    return True


def next_key(fd: int, key: bytes | None, key_size: int) -> bytes | None:
    """The key after `key`; the first one if `key` is None or absent; None at the end."""
    buffer = ctypes.create_string_buffer(key_size)
    try:
        bpf(Command.MAP_GET_NEXT_KEY, MapRead(fd, key, ctypes.addressof(buffer), 0))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    return buffer.raw


def lookup_batch(
    fd: int, cursor: bytes | None, key_size: int, value_size: int, count: int
) -> tuple[bytes, bytes, bytes | None]:
    """Up to `count` (keys, values, cursor of the next call); the cursor is None after the last.
    ENOSPC: `count` is less than one bucket of a hash map holds."""
    keys = ctypes.create_string_buffer(key_size * count)
    values = ctypes.create_string_buffer(value_size * count)
    following = ctypes.create_string_buffer(max(key_size, 4))
    attributes = MapReadBatch(
        cursor,
        ctypes.addressof(following),
        ctypes.addressof(keys),
        ctypes.addressof(values),
        count,
        fd,
        0,
        0,
    )
    ended = False
    try:
        bpf(Command.MAP_LOOKUP_BATCH, attributes)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        ended = True
    found = attributes.count
    return (
        ctypes.string_at(keys, found * key_size),
        ctypes.string_at(values, found * value_size),
        None if ended else following.raw,
    )


def update_batch(fd: int, keys: bytes, values: bytes, count: int) -> None:
    """All entries in their order; BatchError where it stops."""
    _write_batch(Command.MAP_UPDATE_BATCH, fd, keys, values, count)


def delete_batch(fd: int, keys: bytes, count: int) -> None:
    """BatchError with ENOENT stops at the first absent key."""
    _write_batch(Command.MAP_DELETE_BATCH, fd, keys, None, count)


def _write_batch(command: Command, fd: int, keys: bytes, values: bytes | None, count: int) -> None:
    attributes = MapWriteBatch(0, 0, keys, values, count, fd, 0, 0)
    try:
        bpf(command, attributes)
    except OSError as error:
        stopped = BatchError(error.errno, error.strerror)
        # Kernels that refuse the command altogether leave the count as it came in.
        stopped.done = attributes.count if attributes.count < count else 0
        raise stopped from None


def load_program(kind: ProgramType, instructions: bytes, *, name: str = "", license: str = "GPL") -> int:
    """A verified program's descriptor. A refusal ends with the last lines of the verifier's log."""

    def load(log: ctypes.Array[ctypes.c_char] | None) -> int:
        return bpf(
            Command.PROG_LOAD,
            ProgLoad(
                kind,
                len(instructions) // 8,
                instructions,
                license.encode(),
                0 if log is None else 1,
                0 if log is None else len(log),
                0 if log is None else ctypes.addressof(log),
                0,
                0,
                name.encode()[: NAME_LENGTH - 1],
            ),
        )

    refusal: OSError | None = None
    # EAGAIN: a signal arrived while the verifier worked.
    for _ in range(5):
        try:
            return load(None)
        except OSError as error:
            refusal = error
            if error.errno != errno.EAGAIN:
                break
    assert refusal is not None
    # The log makes verification slower, so it is asked for only once the answer is no.
    for size in _LOG_SIZES:
        log = ctypes.create_string_buffer(size)
        try:
            return load(log)
        except OSError as error:
            if error.errno == errno.ENOSPC and size != _LOG_SIZES[-1]:
                continue
            said = log.value.decode(errors="replace").strip().splitlines()[-20:]
            raise OSError(
                refusal.errno, "\n".join([f"program {name!r}: {refusal.strerror}", *said])
            ) from None
    raise refusal


def pin(fd: int, path: str) -> None:
    bpf(Command.OBJ_PIN, Pin(path.encode(), fd, 0))


def get_pinned(path: str) -> int:
    return bpf(Command.OBJ_GET, Pin(path.encode(), 0, 0))


def attach_program(program: int, ifindex: int, where: AttachType, *, replaced: int | None = None) -> None:
    """To an interface of the calling thread's network namespace, for as long as the interface lives.
    `replaced`: descriptor of the attached program whose place this one takes."""
    bpf(
        Command.PROG_ATTACH,
        ProgAttach(ifindex, program, where, 0 if replaced is None else REPLACE, replaced or 0),
    )


def detach_program(program: int, ifindex: int, where: AttachType) -> None:
    bpf(Command.PROG_DETACH, ProgAttach(ifindex, program, where))


def attached_programs(ifindex: int, where: AttachType) -> list[int]:
    """Ids of the programs at an interface, in the order in which they run. EINVAL: no tcx here."""
    ids = (ctypes.c_uint32 * 64)()
    attributes = ProgQuery(ifindex, where, 0, 0, ctypes.addressof(ids), len(ids))
    bpf(Command.PROG_QUERY, attributes)
    return list(ids)[: attributes.count]


def program_by_id(number: int) -> int:
    return bpf(Command.PROG_GET_FD_BY_ID, IdToFd(number))


def map_by_id(number: int) -> int:
    return bpf(Command.MAP_GET_FD_BY_ID, IdToFd(number))


def map_info(fd: int) -> MapInfo:
    info = MapInfo()
    bpf(Command.OBJ_GET_INFO_BY_FD, InfoByFd(fd, ctypes.sizeof(info), ctypes.addressof(info)))
    return info


def program_info(fd: int) -> ProgInfo:
    info = ProgInfo()
    bpf(Command.OBJ_GET_INFO_BY_FD, InfoByFd(fd, ctypes.sizeof(info), ctypes.addressof(info)))
    return info


@dataclass(frozen=True, slots=True)
class TestRun:
    """What BPF_PROG_TEST_RUN answered: the program's return value, ns for each of the repeated runs,
    and packet and context afterwards."""

    __test__ = False

    result: int
    duration_ns: int
    data: bytes
    context: bytes


def run_program(program: int, data: bytes, *, context: bytes | None = None, repeat: int = 1) -> TestRun:
    """Run once (or `repeat` times) on a packet. `context`: a `struct __sk_buff` for tc programs."""
    data_out = ctypes.create_string_buffer(len(data) + 4096)
    context_out = ctypes.create_string_buffer(len(context) if context else 1)
    attributes = ProgTestRun(
        program,
        0,
        len(data),
        len(data_out),
        data,
        ctypes.addressof(data_out),
        repeat,
        0,
        len(context) if context else 0,
        len(context_out) if context else 0,
        context,
        ctypes.addressof(context_out) if context else 0,
    )
    bpf(Command.PROG_TEST_RUN, attributes)
    return TestRun(
        attributes.retval,
        attributes.duration,
        data_out.raw[: attributes.data_size_out],
        context_out.raw[: attributes.ctx_size_out] if context else b"",
    )
