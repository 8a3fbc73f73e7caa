"""Compose files come up as they are, with ciliate as the default of their networks' driver."""

from __future__ import annotations

import subprocess

import pytest

from tests.docker.harness.engines import compose_plugin
from tests.docker.harness.host import Host
from tests.docker.harness.world import HOST4, SPEAKER

FILE = f"""
services:
  web:
    image: machine
    command: python3 /speaker.py serve 80
    ports: ["8090:80"]
    volumes: ["/usr:/usr:ro", "{SPEAKER}:/speaker.py:ro"]
    networks: {{front: {{aliases: [shop]}}}}
  client:
    image: machine
    command: sleep 1000000
    stop_signal: SIGKILL
    volumes: ["/usr:/usr:ro", "{SPEAKER}:/speaker.py:ro"]
    depends_on: [web]
    networks: [front]
networks:
  front:
    driver: ciliate
    driver_opts:
      com.docker.network.driver.mtu: "1420"
    ipam:
      driver: ciliate
"""


def generations() -> list[int]:
    """Compose v1 is a program of its own, as long as the distribution has it."""
    try:
        shown = subprocess.run(
            ["docker-compose", "version", "--short"], capture_output=True, text=True
        ).stdout
    except FileNotFoundError:
        return [2]
    return [1, 2] if shown.startswith("1.") else [2]


@pytest.mark.parametrize("generation", generations())
def test_two_services_with_ports_and_an_mtu(any_host: Host, generation: int) -> None:
    host = any_host
    project = host.sandbox.directory / "shop"
    project.mkdir(exist_ok=True)
    (project / "docker-compose.yml").write_text(FILE if generation == 2 else f'version: "3.8"\n{FILE}')
    plugin = host.path("/root/.docker/cli-plugins/docker-compose")
    plugin.parent.mkdir(parents=True, exist_ok=True)
    plugin.unlink(missing_ok=True)
    plugin.symlink_to(compose_plugin())

    host.compose(project, "up", "-d", version=generation)
    try:
        names = host.endpoints()
        (client,) = (name for name in names if "client" in name)
        (web,) = (name for name in names if "web" in name)
        host.until(lambda: host.ask(client, "tcp", "web", 80), "web answers by its service's name")
        assert host.ask(client, "tcp", "shop", 80)
        assert host.world.ask("tcp", HOST4, 8090)
        assert "mtu 1420" in host.docker("exec", client, "/bin/busybox", "ip", "link", "show", "eth0").out
        assert {"compose:project=shop", "compose:service=web"} <= set(names[web]["labels"])
        assert not [label for label in names[web]["labels"] if "com.docker.compose" in label]
    finally:
        host.compose(project, "down", "-t", "0", version=generation)
    assert host.endpoints() == {}


def test_two_projects_of_the_same_name_elsewhere_share_nothing(host: Host) -> None:
    """Without ciliate.network a network's name means nothing to anyone else."""
    first = host.network("app_default")
    host.docker("network", "rm", "app_default")
    second = host.network("app_default")
    host.start("box", "--network", "app_default")
    assert first != second and f"network:id={second}" in host.endpoints()["box"]["labels"]
