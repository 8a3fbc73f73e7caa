"""Every command that README.md and the guide show is run, in the pages' own order, and says what they say it says.

A command that cannot be run here is named below, with the test that runs it. Pages name images of a registry; here they
are a busybox of this machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.harness.agent_process import REPOSITORY
from tests.docker.harness.commands import Result
from tests.docker.harness.engines import compose_plugin
from tests.docker.harness.host import Host
from tests.docker.harness.pages import Command, File, Rules, items, matches
from tests.docker.harness.rules import allow, selector

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs/guide").glob("*.md"))]

ELSEWHERE = {
    "make run": "tests/docker/test_install.py",
    "make demo": "tests/docker/test_install.py",
    "make stop": "tests/docker/test_install.py",
    "packaging/uninstall.sh": "tests/docker/test_install.py",
    "packaging/uninstall.sh --purge": "tests/docker/test_install.py",
    "ciliate cleanup": "tests/docker/test_cleanup.py",
    "ciliate cleanup --force": "tests/docker/test_cleanup.py",
    "make prebuilt": "tests/kernel/datapath/test_loader.py",
    "make test": ".ci/run",
}
"""What sets up or takes away the machine itself, or takes a minute."""

SYSTEMD = {"journalctl -u ciliate", "systemctl restart docker"}
"""No sandbox has it, so that nothing can run these."""

ENDLESS_SECONDS = 2
"""How long a command runs that shows what happens until it is interrupted."""

AGAIN = ("ciliate endpoint", "ciliate monitor", "docker exec", "curl")
"""What may be asked again until what was done before has its effect."""


class Reader:
    """Does what the pages say, in a directory of its own."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.directory = "/root/reader/shop"
        host.run("mkdir", "-p", self.directory)

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


@pytest.fixture
def reader(host: Host) -> Iterator[Reader]:
    """On a host where the pages' programs are found and their images are there."""
    host.docker("tag", "box", "busybox")
    host.run("ln", "-sfn", Path(sys.executable).with_name("ciliate"), "/usr/local/bin/ciliate")
    plugin = host.path("/root/.docker/cli-plugins/docker-compose")
    plugin.parent.mkdir(parents=True, exist_ok=True)
    plugin.unlink(missing_ok=True)
    plugin.symlink_to(compose_plugin())
    reader = Reader(host)
    yield reader
    host.run("rm", "-rf", reader.directory, "/usr/local/bin/ciliate")
    host.docker("rmi", "busybox")


def before_trouble(host: Host) -> None:
    """What a reader has who looks for the reason of a drop."""
    host.network("shop")
    host.serve("web", "--network", "shop", "-l", "app=web")
    host.caller("client", "--network", "shop", "-l", "role=none")
    host.policy(allow(selector(app="web"), selector(role="ok")))
    assert not host.ask("client", "tcp", "web", 80, seconds=0.5)


BEFORE = {"troubleshooting.md": before_trouble}


@pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: page.name if page.parent == REPOSITORY else page.stem
)
def test_every_command_of_a_page(host: Host, reader: Reader, page: Path) -> None:
    if page.name in BEFORE:
        BEFORE[page.name](host)
    for item in items(page.read_text()):
        if isinstance(item, File):
            reader.write(item.name, item.content)
        elif isinstance(item, Rules):
            reader.write("rules.yaml", item.content)
            reader.follow(Command("ciliate policy validate rules.yaml"))
        elif item.text not in ELSEWHERE and item.text not in SYSTEMD:
            reader.follow(item)


def test_what_is_run_elsewhere_is_shown_and_run_there() -> None:
    shown = {item.text for page in PAGES for item in items(page.read_text()) if isinstance(item, Command)}
    assert shown >= ELSEWHERE.keys() | SYSTEMD
    for command, test in ELSEWHERE.items():
        content = (REPOSITORY / test).read_text()
        assert all(word.rpartition("/")[2] in content for word in command.split()[-1:]), command
