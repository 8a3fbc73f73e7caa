"""The Docker engines that the tests run: packages of three Debian releases, fetched with apt-get and unpacked
beside each other into a cache. Nothing is installed, and apt's own state on this machine is not touched."""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

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

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


class CannotFetch(Exception):
    """The message says why."""


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
        release = platform.freedesktop_os_release()
        if release.get("ID") != "debian":
            raise CannotFetch(f"engines are unpacked from Debian's packages, this is {release.get('ID')}")
        _unpack(RUNTIME, release["VERSION_CODENAME"], ("runc", "tini"))
        suite = SUITES[version]
        _unpack(f"engine-{suite}", suite, PACKAGES[suite])
    return Engine(version, CACHE / f"engine-{suite}")


def compose_plugin() -> Path:
    """Compose v2, as Docker's command line looks for it."""
    fetch("26.1")
    return CACHE / "engine-trixie/usr/libexec/docker/cli-plugins/docker-compose"


def consul() -> Path:
    """The program of Debian's last release that has Consul, 1.8.7. Raises CannotFetch."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _unpack("consul", "bullseye", ("consul",))
    return CACHE / "consul/usr/bin/consul"


def _unpack(name: str, suite: str, packages: tuple[str, ...]) -> None:
    target = CACHE / name
    if (target / ".complete").exists():
        return
    shutil.rmtree(target, ignore_errors=True)
    work = CACHE / f"apt-{suite}"
    shutil.rmtree(work, ignore_errors=True)
    configuration = _apt_configuration(work, suite)
    downloads = work / "packages"
    downloads.mkdir()
    for command in (["apt-get", "update", "-qq"], ["apt-get", "download", "-qq", *packages]):
        done = subprocess.run(
            command,
            cwd=downloads,
            env={**os.environ, "APT_CONFIG": str(configuration)},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise CannotFetch(f"{' '.join(command)} for {suite}: {done.stderr.strip()}")
    for package in sorted(downloads.glob("*.deb")):
        subprocess.run(["dpkg", "-x", str(package), str(target)], check=True)
    shutil.rmtree(work)
    (target / ".complete").touch()


def _apt_configuration(work: Path, suite: str) -> Path:
    """A configuration with state of its own that knows `suite` alone, from the mirror this machine uses."""
    for directory in ("parts", "sources", "state/lists/partial", "cache/archives/partial"):
        (work / directory).mkdir(parents=True)
    for part in Path("/etc/apt/apt.conf.d").iterdir():
        # How to reach the mirror is kept; commands that run after an update are not ours to run.
        if part.is_file() and "Invoke" not in part.read_text(errors="replace"):
            shutil.copy(part, work / "parts" / part.name)
    (work / "sources/tests.sources").write_text(
        f"Types: deb\nURIs: {_mirror()}\nSuites: {suite}\nComponents: main\nSigned-By: {KEYRING}\n"
    )
    configuration = work / "apt.conf"
    configuration.write_text(
        f'Dir::Etc::parts "{work}/parts";\n'
        'Dir::Etc::sourcelist "/dev/null";\n'
        f'Dir::Etc::sourceparts "{work}/sources";\n'
        'Dir::Etc::preferencesparts "/dev/null";\n'
        f'Dir::State "{work}/state";\n'
        'Dir::State::status "/dev/null";\n'
        f'Dir::Cache "{work}/cache";\n'
        'APT::Sandbox::User "root";\n'
    )
    return configuration


def _mirror() -> str:
    """Where this machine gets its own release's packages from."""
    codename = platform.freedesktop_os_release()["VERSION_CODENAME"]
    apt = Path("/etc/apt")
    for source in sorted(apt.glob("sources.list.d/*.sources")):
        for stanza in re.split(r"\n\s*\n", source.read_text()):
            field = dict(re.findall(r"^([\w-]+):[ \t]*(.*)$", stanza, re.MULTILINE))
            if codename in field.get("Suites", "").split():
                return str(field["URIs"].split()[0])
    for listing in (apt / "sources.list", *sorted(apt.glob("sources.list.d/*.list"))):
        if not listing.exists():
            continue
        for line in listing.read_text().splitlines():
            match = re.match(rf"deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+{codename}\s", line)
            if match:
                return str(match[1])
    raise CannotFetch("apt's sources name no mirror of this machine's release")
