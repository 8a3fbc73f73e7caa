"""Native routing where a router is between the nodes: the user's routing daemons tell each other the slices."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from driver.plan import ROUTE_PROTOCOL, RoutingMode
from tests.archive import CannotFetch
from tests.conftest import require
from tests.docker.harness.engines import bird
from tests.kernel.network import Place, connected
from tests.kernel.overlay.bed import Bed, Router

PATIENCE = 20.0
"""Seconds until daemons that have just begun know all routes."""

CONFIGURATION = """
router id 192.0.2.{number};
protocol device {{ scan time 1; }}
protocol kernel {{ learn; scan time 1; ipv4 {{
  import where krt_source = {protocol} && dest = RTD_UNREACHABLE; export where source = RTS_BABEL; }}; }}
protocol kernel {{ learn; scan time 1; ipv6 {{
  import where krt_source = {protocol} && dest = RTD_UNREACHABLE; export where source = RTS_BABEL; }}; }}
protocol babel {{
  interface "eth*", "port*" {{ type wired; hello interval 1 s; update interval 2 s; }};
  ipv4 {{ import all; export where source = RTS_INHERIT || source = RTS_BABEL; }};
  ipv6 {{ import all; export where source = RTS_INHERIT || source = RTS_BABEL; }};
}}
"""


@pytest.fixture(scope="module")
def routed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    require(os.geteuid() == 0, "root, to make network namespaces")
    try:
        daemon = bird()
    except CannotFetch as error:
        require(False, f"BIRD: {error}")
    directory = tmp_path_factory.mktemp("routed")
    with ExitStack() as stack:
        bed = Bed(RoutingMode.NATIVE, directory, stack, Router)
        for place, number in ((bed.wire, 254), (bed.one, 1), (bed.two, 2)):
            stack.enter_context(told_of_routes(place, number, daemon, directory))
        yield bed


def told_of_routes(place: Place, number: int, daemon: Path, directory: Path) -> subprocess.Popen[bytes]:
    configuration = directory / f"bird{number}.conf"
    configuration.write_text(CONFIGURATION.format(number=number, protocol=ROUTE_PROTOCOL))
    (libraries,) = (daemon / "usr/lib").glob("*-linux-gnu")
    command = [daemon / "usr/sbin/bird", "-f", "-c", configuration, "-s", directory / f"bird{number}.ctl"]
    with place.entered():
        return Daemon(command, env={**os.environ, "LD_LIBRARY_PATH": str(libraries)})


class Daemon(subprocess.Popen[bytes]):
    """Ends with its block."""

    def __exit__(self, *_: object) -> None:
        self.terminate()
        self.wait()


def wait_for_route(place: Place, address: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while "192.0.2.254" not in (route := place.ip(f"route get {address}")) and "fe80::" not in route:
        assert time.monotonic() < deadline, route
        time.sleep(0.1)


def test_containers_reach_each_other_through_the_router(routed: Bed) -> None:
    a, b, one = routed.a, routed.b, routed.one
    for address in b.addresses:
        wait_for_route(one, address)
        wait_for_route(routed.two, a.addresses[":" in address])
    for address in a.addresses:
        one.events()
        client, server = connected(b, a, address)
        with client, server:
            assert server.getpeername()[0] == b.addresses[":" in address]
        assert [event.source_identity for event in one.events()] == [b.identity]
