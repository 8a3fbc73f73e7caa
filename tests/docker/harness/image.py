"""The images that the tests run, made on the spot: no registry is needed.

`box`: a static busybox. `machine`: an empty file system for this machine's /usr, which the tests mount read-only,
so that Python and other tools run in a container."""

from __future__ import annotations

import io
import subprocess
import tarfile
from functools import cache

BUSYBOX = "/bin/busybox"

MACHINE_MOUNT = ("-v", "/usr:/usr:ro")


@cache
def box() -> bytes:
    """A tar that `docker import` takes."""
    applets = subprocess.run(
        [BUSYBOX, "--list-full"], capture_output=True, text=True, check=True
    ).stdout.split()
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        _skeleton(archive)
        for directory in ("bin", "sbin", "usr", "usr/bin", "usr/sbin"):
            _directory(archive, directory)
        archive.add(BUSYBOX, "bin/busybox")
        for applet in applets:
            if applet != "bin/busybox":
                _link(archive, applet, BUSYBOX)
    return content.getvalue()


@cache
def machine() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        _skeleton(archive)
        _directory(archive, "usr")
        for name in ("bin", "sbin", "lib", "lib64"):
            _link(archive, name, f"usr/{name}")
    return content.getvalue()


def _skeleton(archive: tarfile.TarFile) -> None:
    for directory in ("etc", "dev", "proc", "sys", "tmp", "root", "run"):
        _directory(archive, directory)
    content = b"root:x:0:0:root:/root:/bin/sh\n"
    passwd = tarfile.TarInfo("etc/passwd")
    passwd.size = len(content)
    archive.addfile(passwd, io.BytesIO(content))


def _directory(archive: tarfile.TarFile, name: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
    archive.addfile(entry)


def _link(archive: tarfile.TarFile, name: str, target: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, target
    archive.addfile(entry)
