"""The BPF file system: where maps and programs live on while no process holds them.

Layout: `<root>/<ABI version>/maps/<name>` and `.../progs/<name>`. A changed ABI has another
directory, so an old map is never misread.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Mapping
from pathlib import Path
from time import monotonic_ns

from datapath import syscall
from datapath.abi import ABI_VERSION
from datapath.attributes import MapType
from datapath.codec import encode_long, encode_number
from datapath.maps import INNER, MapSpec
from model.errors import CiliateError, Conflict, NotFound, Unavailable

BPF_FS_MAGIC = 0xCAFE4A11
_libc = ctypes.CDLL(None, use_errno=True)


def maps_directory(root: Path) -> Path:
    return root / str(ABI_VERSION) / "maps"


def programs_directory(root: Path) -> Path:
    return root / str(ABI_VERSION) / "progs"


def is_bpffs(path: Path) -> bool:
    """False also where the path does not exist."""
    buffer = (ctypes.c_long * 32)()
    if _libc.statfs(str(path).encode(), buffer) != 0:
        return False
    return buffer[0] & 0xFFFFFFFF == BPF_FS_MAGIC


def prepare(root: Path) -> None:
    """Make the directories. Where no BPF file system is, one is mounted: at /sys/fs/bpf if `root` lies
    below it, else at `root` itself."""
    existing = next(path for path in (root, *root.parents) if path.exists())
    if not is_bpffs(existing):
        standard = Path("/sys/fs/bpf")
        mount_bpffs(standard if standard in root.parents and standard.exists() else root)
    for directory in (maps_directory(root), programs_directory(root)):
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(f"cannot make {directory}: {error.strerror}", hint="run as root") from error


def mount_bpffs(target: Path) -> None:
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _libc.mount(b"bpf", str(target).encode(), b"bpf", 0, b"mode=0700") != 0:
        code = ctypes.get_errno()
        raise Unavailable(
            f"cannot mount a BPF file system at {target}: {os.strerror(code)}",
            hint=f"as root: mount -t bpf bpf {target}",
        )


def unmount(target: Path) -> None:
    if _libc.umount2(str(target).encode(), 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"umount {target}: {os.strerror(code)}")


def create_map(spec: MapSpec, *, inner: int = 0) -> int:
    """`inner`: descriptor of a map of the form that a map of maps holds."""
    return syscall.create_map(
        spec.type,
        spec.key_size,
        spec.value_size,
        spec.max_entries,
        flags=spec.flags,
        name=spec.name,
        inner=inner,
    )


def open_map(root: Path, name: str) -> int:
    return _get(maps_directory(root) / name)


def open_program(root: Path, name: str) -> int:
    return _get(programs_directory(root) / name)


def _get(path: Path) -> int:
    try:
        return syscall.get_pinned(str(path))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise NotFound(f"{path} is not there", hint="load the datapath: start ciliate") from None
        raise


def open_or_create_maps(root: Path, specs: Mapping[str, MapSpec]) -> tuple[dict[str, int], set[str]]:
    """Descriptors of all maps, and the names of those that did not exist before. Conflict if a pinned
    map has another form than asked for."""
    descriptors: dict[str, int] = {}
    created: set[str] = set()
    try:
        for name, spec in specs.items():
            if name == INNER.name:
                continue
            path = maps_directory(root) / name
            try:
                descriptors[name] = syscall.get_pinned(str(path))
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise
                descriptors[name] = _create_pinned(path, spec, specs[INNER.name])
                created.add(name)
            else:
                _check_form(path, descriptors[name], spec)
    except (OSError, CiliateError):
        for fd in descriptors.values():
            os.close(fd)
        raise
    return descriptors, created


def _create_pinned(path: Path, spec: MapSpec, inner: MapSpec) -> int:
    inner_fd = create_map(inner) if spec.type is MapType.ARRAY_OF_MAPS else 0
    try:
        fd = create_map(spec, inner=inner_fd)
    finally:
        if inner_fd:
            os.close(inner_fd)
    try:
        if spec.name == "epoch":
            # Later than any epoch that a conntrack entry of an older map can carry: epochs go up by one
            # at a time, and pins do not outlive the clock.
            syscall.update(fd, encode_number(0), encode_long(monotonic_ns()))
        syscall.pin(fd, str(path))
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check_form(path: Path, fd: int, spec: MapSpec) -> None:
    info = syscall.map_info(fd)
    pinned = (info.type, info.key_size, info.value_size, info.max_entries, info.map_flags)
    wanted = (spec.type, spec.key_size, spec.value_size, spec.max_entries, spec.flags)
    if pinned != wanted:
        raise Conflict(
            f"pinned map {path} has type {pinned[0]}, key {pinned[1]}, value {pinned[2]}, size {pinned[3]}, "
            f"flags {pinned[4]} instead of {wanted[0]:d}, {wanted[1]}, {wanted[2]}, {wanted[3]}, {wanted[4]}",
            hint="keep the sizes, or run `ciliate cleanup` first",
        )


def pin_program(root: Path, name: str, fd: int) -> None:
    """In one step in place of an older one of this name, which stays where it is attached."""
    path = programs_directory(root) / name
    # A name with a dot would be refused: bpffs keeps those for itself.
    fresh = path.with_name(f"{name}_new")
    fresh.unlink(missing_ok=True)
    syscall.pin(fd, str(fresh))
    fresh.rename(path)
