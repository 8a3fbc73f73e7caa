"""The Docker engines that the tests run: packages of three Debian releases, fetched with apt-get and unpacked
beside each other into a cache. Nothing is installed, and apt's own state on this machine is not touched."""

from __future__ import annotations

import fcntl
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.archive import Archive, codename

CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "ciliate-tests"

SUITES = {"20.10": "bookworm", "26.1": "trixie", "28": "sid"}
"""The engine's version and the release that has it."""

PACKAGES = {
    "bookworm": ("docker.io", "containerd"),
    "trixie": ("docker.io", "docker-cli", "containerd", "docker-compose"),
    "sid": ("docker.io", "docker-cli", "containerd"),
}

RUNTIME = "runtime"
"""runc comes from this machine's own release: newer ones need a newer libc."""


@dataclass(frozen=True, slots=True)
class Engine:
    version: str
    directory: Path

    @property
    def programs(self) -> tuple[Path, ...]:
        """Directories to search before this machine's own, so that dockerd finds its own containerd."""
        return (
            self.directory / "usr/bin",
            self.directory / "usr/sbin",
            CACHE / RUNTIME / "usr/bin",
            CACHE / RUNTIME / "usr/sbin",
        )


def fetch(version: str) -> Engine:
    """The engine, from the cache or else from Debian's mirror. Raises CannotFetch."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:  # several test processes may begin at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        _unpack(RUNTIME, codename(), ("runc", "tini"))
        suite = SUITES[version]
        _unpack(f"engine-{suite}", suite, PACKAGES[suite])
    return Engine(version, CACHE / f"engine-{suite}")


def compose_plugin() -> Path:
    """Compose v2, as Docker's command line looks for it."""
    fetch("26.1")
    return CACHE / "engine-trixie/usr/libexec/docker/cli-plugins/docker-compose"


def consul() -> Path:
    """The program of Debian's last release that has Consul, 1.8.7. Raises CannotFetch."""
    return unpack("consul", "bullseye", ("consul",)) / "usr/bin/consul"


def unpack(name: str, suite: str, packages: tuple[str, ...]) -> Path:
    """The directory in the cache, named `name`, that holds these packages of that release. Raises CannotFetch."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _unpack(name, suite, packages)
    return CACHE / name


def bird() -> Path:
    """The folder of a routing daemon. Raises CannotFetch."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _unpack("bird", codename(), ("bird2", "libssh-gcrypt-4"))
    return CACHE / "bird"


def _unpack(name: str, suite: str, packages: tuple[str, ...]) -> None:
    target = CACHE / name
    if (target / ".complete").exists():
        return
    shutil.rmtree(target, ignore_errors=True)
    work = CACHE / f"apt-{suite}"
    Archive(work, [suite]).unpack(packages, target)
    shutil.rmtree(work)
    (target / ".complete").touch()
