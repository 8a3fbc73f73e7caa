"""Every command that the guide's page about many hosts shows is run, on the host that it names, and on any where it
names none."""

from __future__ import annotations

from contextlib import ExitStack

from tests.cluster.harness.bed import Bed
from tests.docker.harness.agent_process import REPOSITORY
from tests.docker.harness.engines import consul
from tests.docker.harness.pages import Command, File, items
from tests.docker.harness.reader import Reader

PAGE = REPOSITORY / "docs/guide/cluster.md"

ELSEWHERE = {
    "make run": "tests/docker/test_install.py",
    "make stop": "tests/docker/test_install.py",
    "make cluster-up": "tests/cluster/test_play.py",
    "make cluster-down": "tests/cluster/test_play.py",
}


def test_three_hosts_in_ten_minutes(bed: Bed) -> None:
    with ExitStack() as stack:
        readers = {node.name: stack.enter_context(Reader.at(node)) for node in bed.nodes}
        bed.nodes[0].run("ln", "-sfn", consul(), "/usr/local/bin/consul")
        for item in items(PAGE.read_text()):
            if isinstance(item, File):
                for reader in readers.values():
                    reader.write(item.name, item.content)
            elif isinstance(item, Command) and item.text not in ELSEWHERE:
                readers[item.host or "a"].follow(item)
