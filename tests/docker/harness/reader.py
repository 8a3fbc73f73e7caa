"""Who follows a page of the documentation on a host: types its commands and compares what is printed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.docker.harness.commands import Result
from tests.docker.harness.engines import compose_plugin
from tests.docker.harness.host import Host
from tests.docker.harness.pages import Command, matches

ENDLESS_SECONDS = 2
"""How long a command runs that shows what happens until it is interrupted."""

AGAIN = ("ciliate endpoint", "ciliate monitor", "ciliate node", "docker exec", "curl")
"""What may be asked again until what was done before has its effect."""


def furnish(host: Host) -> None:
    """The command `ciliate`, Compose, and under a registry's name an image of this machine's busybox."""
    host.docker("tag", "box", "busybox")
    host.run("ln", "-sfn", Path(sys.executable).with_name("ciliate"), "/usr/local/bin/ciliate")
    plugin = host.path("/root/.docker/cli-plugins/docker-compose")
    plugin.parent.mkdir(parents=True, exist_ok=True)
    plugin.unlink(missing_ok=True)
    plugin.symlink_to(compose_plugin())


class Reader:
    """Does what the pages say, in a directory of its own."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.directory = "/root/reader/shop"
        host.run("mkdir", "-p", self.directory)

    @classmethod
    @contextmanager
    def at(cls, host: Host) -> Iterator[Reader]:
        furnish(host)
        reader = cls(host)
        yield reader
        host.run("rm", "-rf", reader.directory, "/usr/local/bin/ciliate")
        host.docker("rmi", "busybox")

    def write(self, name: str, content: str) -> None:
        self._host.path(f"{self.directory}/{name}").write_text(content)

    def run(self, command: Command) -> Result:
        shell = ["bash", "-o", "pipefail", "-c", f"exec 2>&1\n{command.text}"]
        if endless(command.text):
            shell = ["timeout", str(ENDLESS_SECONDS), *shell]
        return self._host.run(*shell, cwd=self.directory, check=False)

    def follow(self, command: Command) -> None:
        done = self.run(command)

        def as_shown() -> bool:
            ends_as_shown = (
                done.status == 124 if endless(command.text) else (done.status != 0) == command.fails
            )
            return ends_as_shown and matches(command.output, done.out)

        for _ in range(20):
            if as_shown() or not command.text.startswith(AGAIN):
                break
            self._host.settle(0.2)
            done = self.run(command)
        assert as_shown(), f"shown:\n{command}\nis:\n{done}"


def endless(text: str) -> bool:
    return text.startswith("ciliate monitor") and "--no-follow" not in text
