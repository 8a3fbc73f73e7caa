"""Packages of any of Debian's suites, fetched with apt-get and unpacked somewhere. Nothing is installed, and apt's own
state on this machine is not touched."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


class CannotFetch(Exception):
    """The message says why."""


class Archive:
    """Some suites as apt sees them that knows no others, and nothing that is installed."""

    def __init__(self, work: Path, suites: Sequence[str]) -> None:
        """`work`: a folder to make anew, for what apt keeps; the archive's mirror is the one this machine uses."""
        shutil.rmtree(work, ignore_errors=True)
        self._suites = suites
        self._downloads = work / "packages"
        self._configuration = _apt_configuration(work, suites)
        self._downloads.mkdir()
        self.run("apt-get", "update", "-qq")

    def run(self, *command: str) -> str:
        """What a command of apt's prints. Raises CannotFetch."""
        done = subprocess.run(
            command,
            cwd=self._downloads,
            env={**os.environ, "APT_CONFIG": str(self._configuration)},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise CannotFetch(f"{' '.join(command)} for {', '.join(self._suites)}: {done.stderr.strip()}")
        return done.stdout

    def unpack(self, packages: Sequence[str], target: Path) -> None:
        self.run("apt-get", "download", "-qq", *packages)
        for package in sorted(self._downloads.glob("*.deb")):
            subprocess.run(["dpkg", "-x", str(package), str(target)], check=True)
            package.unlink()


def codename() -> str:
    """Of the release that this machine runs. CannotFetch if it is none of Debian's."""
    release = platform.freedesktop_os_release()
    if release.get("ID") != "debian":
        raise CannotFetch(
            f"Debian's packages are fetched from the mirror of a Debian, this is {release.get('ID')}"
        )
    return release["VERSION_CODENAME"]


def _apt_configuration(work: Path, suites: Sequence[str]) -> Path:
    for directory in ("parts", "sources", "state/lists/partial", "cache/archives/partial"):
        (work / directory).mkdir(parents=True)
    for part in Path("/etc/apt/apt.conf.d").iterdir():
        # How to reach the mirror is kept; commands that run after an update are not ours to run.
        if part.is_file() and "Invoke" not in part.read_text(errors="replace"):
            shutil.copy(part, work / "parts" / part.name)
    (work / "sources/tests.sources").write_text("\n".join(_stanza(suite) for suite in suites))
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


def _stanza(suite: str) -> str:
    security = "-security" if suite.endswith("-security") else ""
    uri = _mirror(codename() + security)
    return f"Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: main\nSigned-By: {KEYRING}\n"


def _mirror(suite: str) -> str:
    """Where this machine gets the packages of a suite of its own from."""
    apt = Path("/etc/apt")
    for source in sorted(apt.glob("sources.list.d/*.sources")):
        for stanza in re.split(r"\n\s*\n", source.read_text()):
            field = dict(re.findall(r"^([\w-]+):[ \t]*(.*)$", stanza, re.MULTILINE))
            if suite in field.get("Suites", "").split():
                return str(field["URIs"].split()[0])
    for listing in (apt / "sources.list", *sorted(apt.glob("sources.list.d/*.list"))):
        if not listing.exists():
            continue
        for line in listing.read_text().splitlines():
            match = re.match(rf"deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+{suite}\s", line)
            if match:
                return str(match[1])
    raise CannotFetch(f"apt's sources name no mirror of {suite}")
