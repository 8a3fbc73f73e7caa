"""What the fixtures that lend hosts have in common: where the engine comes from, and the logs that a failure shows."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import pytest

from tests.archive import CannotFetch
from tests.conftest import require
from tests.docker.harness.engines import SUITES, Engine, fetch
from tests.docker.harness.host import Host

NEWEST = list(SUITES)[-1]

HOSTS = pytest.StashKey[list[Host]]()


def engine(version: str = NEWEST) -> Engine:
    require(os.geteuid() == 0, "engines need root")
    try:
        return fetch(version)
    except CannotFetch as error:
        require(False, str(error))
        raise


def watch(request: pytest.FixtureRequest, *hosts: Host) -> None:
    request.node.stash.setdefault(HOSTS, []).extend(hosts)


def left_behind(host: Host, before: Mapping[str, tuple[str, ...]]) -> list[str]:
    """What `host.traces()` shows and did not before; but not what the agent keeps as long as it runs: forwarding, and
    links in stock for the next containers."""
    after = host.traces()
    return [
        line
        for what in after.keys() - {"sysctls"}
        for line in sorted(set(after[what]) - set(before[what]))
        if "spare" not in line
    ]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """The hosts' logs are shown with a failure, while they still live. For a layer's conftest to import."""
    report = yield
    if report.failed:
        for host in item.stash.get(HOSTS, []):
            report.sections.append((f"host {host.sandbox.name}, engine {host.version}", host.logs()))
    return report
