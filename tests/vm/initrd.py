"""The first file system of a test machine: busybox, the modules that reach the host's files, and `init`."""

from __future__ import annotations

import lzma
import subprocess
from pathlib import Path

from tests.vm.fetch import Unpacked

INIT = Path(__file__).with_name("init")
BUSYBOX = Path("/bin/busybox")
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")

_DIRECTORY, _PROGRAM, _FILE = 0o040755, 0o100755, 0o100644


def build(kernel: Unpacked) -> bytes:
    """An archive that the kernel unpacks."""
    made = [
        *(
            entry(name, _DIRECTORY)
            for name in ("bin", "dev", "host", "modules", "proc", "root", "sys", "writes")
        ),
        entry("bin/busybox", _PROGRAM, BUSYBOX.read_bytes()),
        entry("init", _PROGRAM, INIT.read_bytes()),
    ]
    for number, path in enumerate(needed_modules(kernel)):
        content = path.read_bytes()
        if path.suffix == ".xz":
            content = lzma.decompress(content)
        made.append(entry(f"modules/{number:02}.ko", _FILE, content))
    return b"".join([*made, entry("TRAILER!!!", 0)])


def needed_modules(kernel: Unpacked) -> list[Path]:
    """In the order in which they can be inserted."""
    found: dict[Path, None] = {}
    for module in MODULES:
        command = ["modprobe", "-d", kernel.root, "-S", kernel.release, "--show-depends", module]
        listed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        # Each line is "insmod PATH ", or "builtin NAME" for what is part of the kernel.
        found |= dict.fromkeys(
            Path(line.split()[1]) for line in listed.splitlines() if line.startswith("insmod")
        )
    return list(found)


def entry(name: str, mode: int, content: bytes = b"") -> bytes:
    """One file of a "newc" archive: Documentation/driver-api/early-userspace/buffer-format.rst."""
    fields = (0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
    header = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
    return _padded(header) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
