"""Everything ciliate has pinned, gone."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from datapath.pins import is_bpffs, unmount


def remove_pins(root: Path) -> int:
    """Unpin maps and programs of all ABI versions and remove the directories; how many pins there
    were. The kernel frees a map or program once nothing is attached or open. A file system that was
    mounted for `root` alone is unmounted."""
    if not is_bpffs(root):
        return 0
    removed = 0
    for version in root.iterdir():
        # The root of such a file system also holds files that the kernel puts there.
        if version.name.isdecimal():
            removed += sum(len(files) for _, _, files in os.walk(version))
            shutil.rmtree(version)
    if os.path.ismount(root):
        unmount(root)
    root.rmdir()
    return removed
