"""The tests' own hosts, shown with Docker's bridge: if one of these fails, look here before looking at ciliate."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docker.harness.engines import SUITES
from tests.docker.harness.host import Host
from tests.docker.harness.sandbox import CGROUPS
from tests.docker.harness.world import FAR4, HOST4, ROUTER4

versions = pytest.mark.parametrize(
    "version", [pytest.param(version, marks=pytest.mark.xdist_group(version)) for version in SUITES]
)


@versions
def test_containers_of_a_bridge_network_talk_by_name_and_with_the_world(
    version: str, fresh_host: Callable[..., Host]
) -> None:
    host = fresh_host(version)
    host.docker("network", "create", "plain")
    host.serve("web", "--network", "plain", "-p", "8080:80")
    host.caller("client", "--network", "plain")

    assert host.docker("version", "-f", "{{.Server.Version}}").out.startswith(version)
    client = host.address("client", "plain")
    assert host.ask("client", "tcp", "web", 80) == f"web {client}"
    assert host.ask("client", "udp", "web", 80) == f"web {client}"
    assert host.pings("client", "web")
    assert host.world.ask("tcp", HOST4, 8080) == f"web {ROUTER4}"
    assert host.ask_from_host("tcp", HOST4, 8080).startswith("web ")
    with host.world.serving(7), host.capture("uplink", "port 7", namespace="world") as capture:
        assert host.ask("client", "tcp", FAR4, 7).endswith(HOST4), "masqueraded"
    assert any(f"{FAR4}.7" in line for line in capture.lines)


@versions
def test_a_killed_engine_starts_again(version: str, fresh_host: Callable[..., Host]) -> None:
    host = fresh_host(version)
    host.start("stays", "--restart", "always")
    host.engine.restart(signal.SIGKILL)
    assert host.docker("ps", "--format", "{{.Names}}").lines == ["stays"]


def test_a_host_leaves_nothing_on_the_machine(fresh_host: Callable[..., Host]) -> None:
    host = fresh_host()
    host.start("web")
    host.run("touch", "/etc/written", "/usr/bin/written", "/var/lib/written", "/opt/written")
    process = Path(f"/proc/{host.sandbox.pid}")
    assert process.exists()
    host.close()

    assert not process.exists()
    assert not host.sandbox.directory.exists()
    assert not [path for path in CGROUPS.glob("**/ct-*") if path.name == host.sandbox.name]
    for place in ("/etc", "/usr/bin", "/var/lib", "/opt"):
        assert not (Path(place) / "written").exists()
