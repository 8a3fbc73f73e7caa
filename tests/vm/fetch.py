"""A kernel from Debian's archive, unpacked into a folder."""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.archive import Archive
from tests.vm.kernels import Kernel

CACHE = Path(__file__).parents[2] / "build" / "vm"

_PARTS = re.compile(r"^linux-(?:base|binary|image|modules)-[0-9]\S*$", re.MULTILINE)
"""Packages that a kernel is made of; the newer ones are split."""


@dataclass(frozen=True, slots=True)
class Unpacked:
    root: Path
    """With lib/modules/RELEASE, as on a machine that runs it."""
    release: str

    @property
    def image(self) -> Path:
        """The newer packages have it beside the modules."""
        boot = self.root / "boot" / f"vmlinuz-{self.release}"
        return boot if boot.exists() else self.root / "lib" / "modules" / self.release / "vmlinuz"


def fetch(kernel: Kernel, cache: Path = CACHE) -> Unpacked:
    """The one that is there already, however old, else the newest of its suites. Raises CannotFetch."""
    root = cache / kernel.name
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{kernel.name}.lock").open("w") as lock:  # several processes may begin at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            unfinished = cache / f"{kernel.name}.unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            _unpack(kernel, unfinished / "apt", unfinished / "root")
            (unfinished / "root").rename(root)
            shutil.rmtree(unfinished)
    (modules,) = (root / "lib" / "modules").iterdir()
    return Unpacked(root, modules.name)


def _unpack(kernel: Kernel, work: Path, root: Path) -> None:
    archive = Archive(work, kernel.suites)
    depends = archive.run("apt-cache", "depends", "--recurse", "--important", "linux-image-amd64")
    archive.unpack(sorted(set(_PARTS.findall(depends))), root)
    if not (root / "lib").exists():
        (root / "lib").symlink_to("usr/lib")
    (modules,) = (root / "lib" / "modules").iterdir()
    subprocess.run(["depmod", "-b", root, modules.name], check=True)
