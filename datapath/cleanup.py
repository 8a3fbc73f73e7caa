"""What ciliate has pinned, gone: all of it, or what another version has left behind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from datapath import syscall
from datapath.abi import ABI_VERSION
from datapath.attach import attached_ids
from datapath.pins import is_bpffs, unmount


def remove_pins(root: Path) -> int:
    """Unpin maps and programs of all ABI versions and remove the directories; how many pins there
    were. The kernel frees a map or program once nothing is attached or open. A file system that was
    mounted for `root` alone is unmounted."""
    if not is_bpffs(root):
        return 0
    removed = 0
    for version in _versions(root):
        removed += sum(len(files) for _, _, files in os.walk(version))
        shutil.rmtree(version)
    if os.path.ismount(root):
        unmount(root)
    root.rmdir()
    return removed


def remove_old_pins(root: Path, ifindexes: Iterable[int]) -> list[str]:
    """Unpin maps and programs of other ABI versions than this one; which. A version of which a program is attached to
    one of the interfaces is left as it is: it judges traffic. OSError if an interface's programs cannot be
    listed."""
    others = [version for version in _versions(root) if version.name != str(ABI_VERSION)]
    if not others:
        return []
    attached = {number for ifindex in ifindexes for number in attached_ids(ifindex)}
    unused = [version for version in others if not attached & _program_ids(version)]
    for version in unused:
        shutil.rmtree(version)
    return [version.name for version in unused]


def _versions(root: Path) -> Iterator[Path]:
    """The root of such a file system also holds files that the kernel puts there."""
    return (version for version in root.iterdir() if version.name.isdecimal())


def _program_ids(version: Path) -> set[int]:
    found = set()
    for path in (version / "progs").glob("*"):
        fd = syscall.get_pinned(str(path))
        try:
            found.add(syscall.program_info(fd).id)
        finally:
            os.close(fd)
    return found
