"""Hosts for the stories of this layer.

A host (engine and agent in a sandbox) is made once for each engine version and shared; each story gets it empty and
must leave it empty, which is checked: no container, network, endpoint, link or address stays. Stories that kill things
or need settings of their own make a host of their own with `fresh_host`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import require
from tests.docker.harness.engines import SUITES, CannotFetch, Engine, fetch
from tests.docker.harness.host import Host

NEWEST = list(SUITES)[-1]

HOSTS = pytest.StashKey[list[Host]]()


def engine(version: str) -> Engine:
    require(os.geteuid() == 0, "engines need root")
    try:
        return fetch(version)
    except CannotFetch as error:
        require(False, str(error))
        raise


@pytest.fixture(scope="session")
def shared_hosts() -> Iterator[Callable[[str], Host]]:
    made: dict[str, Host] = {}

    def get(version: str) -> Host:
        if version not in made:
            made[version] = Host(engine(version))
            made[version].engine.start()
            made[version].load_images()
            made[version].docker(
                "run", "--rm", "box", "true"
            )  # the engine's own tables are there from now on
            made[version].agent.start()
        return made[version]

    try:
        yield get
    finally:
        for host in made.values():
            host.close()


@pytest.fixture(params=[pytest.param(version, marks=pytest.mark.xdist_group(version)) for version in SUITES])
def any_host(request: pytest.FixtureRequest, shared_hosts: Callable[[str], Host]) -> Iterator[Host]:
    """A host with each engine in turn: for what the engine's version may change."""
    yield from _lend(request, shared_hosts(request.param))


@pytest.fixture
def host(request: pytest.FixtureRequest, shared_hosts: Callable[[str], Host]) -> Iterator[Host]:
    """A host with the newest engine."""
    yield from _lend(request, shared_hosts(NEWEST))


@pytest.fixture
def fresh_host(request: pytest.FixtureRequest) -> Iterator[Callable[..., Host]]:
    """Makes a host with an engine running and images loaded, but no agent yet: `fresh_host("20.10", ...)`."""
    made: list[Host] = []

    def make(version: str = NEWEST, **options: Any) -> Host:
        host = Host(engine(version), **options)
        made.append(host)
        _watch(request, host)
        host.engine.start()
        host.load_images()
        return host

    try:
        yield make
    finally:
        for host in made:
            host.close()


def _lend(request: pytest.FixtureRequest, host: Host) -> Iterator[Host]:
    _watch(request, host)
    before = host.traces()
    yield host
    host.empty()
    after = host.traces()
    # What the agent keeps as long as it runs: forwarding, and links in stock for the next containers.
    left = [
        line
        for what in after.keys() - {"sysctls"}
        for line in set(after[what]) - set(before[what])
        if "spare" not in line
    ]
    assert not left, "left on the host"
    assert host.api("GET", "/v1/endpoint") == []


def _watch(request: pytest.FixtureRequest, host: Host) -> None:
    request.node.stash.setdefault(HOSTS, []).append(host)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """The hosts' logs are shown with a failure, while they still live."""
    report = yield
    if report.failed:
        for host in item.stash.get(HOSTS, []):
            report.sections.append((f"host {host.sandbox.name}, engine {host.version}", host.logs()))
    return report
