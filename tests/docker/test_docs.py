"""Every command that README.md and the guide show is run, in the pages' own order, and says what they say it says.

A command that cannot be run here is named below, with the test that runs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.harness.agent_process import REPOSITORY
from tests.docker.harness.host import Host
from tests.docker.harness.pages import Command, File, Rules, items
from tests.docker.harness.reader import Reader
from tests.docker.harness.rules import allow, selector

MANY_HOSTS = "cluster.md"
"""tests/cluster/test_docs.py follows it."""

PAGES = [
    REPOSITORY / "README.md",
    *(page for page in sorted((REPOSITORY / "docs/guide").glob("*.md")) if page.name != MANY_HOSTS),
]

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


@pytest.fixture
def reader(host: Host) -> Iterator[Reader]:
    with Reader.at(host) as reader:
        yield reader


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
