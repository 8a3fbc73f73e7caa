"""Hosts for the stories of this layer.

A host (engine and agent in a sandbox) is made once for each engine version and shared; each story gets it empty and
must leave it empty, which is checked: no container, network, endpoint, link or address stays. Stories that kill things
or need settings of their own make a host of their own with `fresh_host`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.docker.harness.engines import SUITES
from tests.docker.harness.host import Host
from tests.docker.harness.lending import NEWEST, engine, left_behind, pytest_runtest_makereport, watch

__all__ = ["pytest_runtest_makereport"]


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
        watch(request, host)
        host.engine.start()
        host.load_images()
        return host

    try:
        yield make
    finally:
        for host in made:
            host.close()


def _lend(request: pytest.FixtureRequest, host: Host) -> Iterator[Host]:
    watch(request, host)
    before = host.traces()
    yield host
    host.empty()
    assert not left_behind(host, before), "left on the host"
    assert host.api("GET", "/v1/endpoint") == []
