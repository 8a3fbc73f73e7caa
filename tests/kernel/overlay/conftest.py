from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import ip_address

import pytest

from driver.nft import Cluster, ruleset
from driver.plan import RoutingMode
from tests.conftest import require
from tests.kernel import netns
from tests.kernel.overlay.bed import Bed

_TRY = ["unshare", "-n", "ip", "link", "add", "type", "geneve", "external"]
MODES = [
    mode
    for mode in RoutingMode
    if mode is not RoutingMode.GENEVE or not subprocess.run(_TRY, capture_output=True).returncode
]
"""Some kernels are built without Geneve."""


@pytest.fixture(scope="session", autouse=True)
def modules() -> None:
    """Netfilter's are there before anybody waits for them: the first rules load a dozen, which takes an emulated kernel
    longer than the driver waits."""
    require(os.geteuid() == 0, "root, to make network namespaces")
    with netns.entered():
        for port in (8472, 0):
            rules = ruleset(
                [],
                [],
                masquerade=True,
                cluster=Cluster(nodes=frozenset({ip_address("192.0.2.2")}), port=port),
            )
            subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)


@pytest.fixture(scope="session")
def beds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[RoutingMode], Bed]]:
    """One of each mode, made when first asked for."""
    require(os.geteuid() == 0, "root, to make network namespaces")
    made: dict[RoutingMode, Bed] = {}
    with ExitStack() as stack:

        def find(mode: RoutingMode) -> Bed:
            if mode not in made:
                made[mode] = Bed(mode, tmp_path_factory.mktemp(mode), stack)
            return made[mode]

        yield find


@pytest.fixture
def vxlan(beds: Callable[[RoutingMode], Bed]) -> Bed:
    return beds(RoutingMode.VXLAN)


@pytest.fixture
def native(beds: Callable[[RoutingMode], Bed]) -> Bed:
    return beds(RoutingMode.NATIVE)


@pytest.fixture(params=[mode for mode in MODES if mode is not RoutingMode.NATIVE])
def tunnelled(beds: Callable[[RoutingMode], Bed], request: pytest.FixtureRequest) -> Bed:
    return beds(request.param)


@pytest.fixture(params=MODES)
def bed(beds: Callable[[RoutingMode], Bed], request: pytest.FixtureRequest) -> Bed:
    return beds(request.param)
