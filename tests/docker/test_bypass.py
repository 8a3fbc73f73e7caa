"""Traffic that passes ciliate by is told, and no more once it is ended as the hint says."""

from __future__ import annotations

import json

from tests.docker.harness.host import Host
from tests.docker.harness.sandbox import wait_until


def questions(host: Host) -> list[str]:
    """Warnings of names that are looked up from the host's network."""
    warnings = host.api("GET", "/v1/healthz")["warnings"]
    return [each["text"] for each in warnings if "resolver" in each["text"]]


def test_names_that_the_host_looks_up_for_containers(host: Host) -> None:
    resolver, configuration = map(host.sandbox.path, ("/etc/resolv.conf", "/etc/docker/daemon.json"))
    before, configured = resolver.read_text(), configuration.read_text()
    try:
        resolver.write_text("nameserver 127.0.0.1\n")
        host.network("n")
        host.start("web", "--network", "n")
        host.start("own", "--network", "n", "--dns", "192.0.2.1")
        wait_until(lambda: questions(host), "it is told")
        (text,) = questions(host)
        assert "(127.0.0.1) in the place of web, so" in text
        configuration.write_text(json.dumps({**json.loads(configured), "dns": ["192.0.2.1"]}))
        wait_until(lambda: not questions(host), "it is told no more")
        configuration.write_text(configured)
        wait_until(lambda: questions(host), "it is told again")
        host.remove("web")
        wait_until(lambda: not questions(host), "the other one has servers of its own")
    finally:
        resolver.write_text(before)
        configuration.write_text(configured)
