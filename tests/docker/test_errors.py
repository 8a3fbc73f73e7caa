"""What is wrong is refused in Docker's own output, with the field and what to do; nothing half-made stays."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from model.identity import Reserved
from tests.docker.harness.host import DRIVER, Host
from tests.docker.harness.sandbox import wait_until
from tests.docker.harness.world import ROUTER4


def refused(host: Host, *arguments: str) -> str:
    result = host.docker(*arguments, check=False)
    assert result.status != 0, f"accepted: {result}"
    return result.err


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["-o", "ciliate.flot=true"], ["ciliate.flot", "ciliate.flat"]),
        (["-o", "ciliate.flat=perhaps"], ["ciliate.flat", "perhaps"]),
        (["-o", "com.docker.network.bridge.name=br7"], ["com.docker.network.bridge.name"]),
        (["-o", "ciliate.mtu=12"], ["ciliate.mtu", "12"]),
        (["-o", "ciliate.enforcement=sometimes"], ["ciliate.enforcement", "always"]),
        (["-o", "ciliate.network=a", "-o", "ciliate.flat=true"], ["ciliate.network"]),
        (["--subnet", "192.0.2.0/25"], ["192.0.2.0/2"]),
        (["--subnet", "10.70.0.0/24", "--ip-range", "10.71.0.0/24"], ["10.71.0.0/24"]),
        (["--subnet", "10.70.0.0/24", "--gateway", "10.71.0.1"], ["10.71.0.1"]),
    ],
)
def test_a_network_that_cannot_be(any_host: Host, options: list[str], names: list[str]) -> None:
    host = any_host
    message = refused(host, "network", "create", *DRIVER, *options, "wrong")
    assert all(name in message for name in names), message
    assert host.docker("network", "ls", "-q", "--filter", "name=wrong").out == ""
    host.network("right", "--subnet", "10.70.0.0/24")


def test_overlapping_networks(any_host: Host) -> None:
    host = any_host
    host.network("n", "--subnet", "10.72.0.0/16")
    message = refused(host, "network", "create", *DRIVER, "--subnet", "10.72.5.0/24", "inner")
    assert "10.72.0.0/16" in message


def test_a_subnet_in_a_network_of_the_hosts_own(host: Host) -> None:
    message = refused(host, "network", "create", *DRIVER, "--subnet", "192.0.2.128/25", "inner")
    assert "192.0.2.0/24, which this host reaches over eth0" in message


def test_a_pool_in_which_other_machines_live(host: Host) -> None:
    create = ("network", "create", *DRIVER, "inner")

    def is_refused() -> bool:
        created = host.docker(*create, check=False).status == 0
        if created:
            host.docker("network", "rm", "inner")
        return not created

    host.sandbox.run("ip", "route", "add", "10.200.128.0/20", "via", ROUTER4)
    try:
        wait_until(is_refused, "the route is known")
        message = refused(host, *create)
        assert (
            "CILIATE_POOL 10.200.0.0/16 overlaps 10.200.128.0/20, which this host reaches over eth0"
            in message
        )
        assert "set CILIATE_POOL" in message
        host.network("n", "--subnet", "10.70.0.0/24")
    finally:
        host.sandbox.run("ip", "route", "del", "10.200.128.0/20")


def test_addresses_that_are_taken_outside_or_used_up(any_host: Host) -> None:
    host = any_host
    host.network("n", "--subnet", "10.73.0.0/29")
    host.start("first", "--network", "n", "--ip", "10.73.0.4")
    assert "10.73.0.4" in refused(
        host, "run", "-d", "--name", "taken", "--network", "n", "--ip", "10.73.0.4", "box"
    )
    assert "10.74.0.4" in refused(
        host, "run", "-d", "--name", "outside", "--network", "n", "--ip", "10.74.0.4", "box"
    )
    host.remove("taken", "outside")
    for number in range(4):
        host.start(f"more{number}", "--network", "n")
    assert "10.73.0.0/29" in refused(host, "run", "-d", "--name", "last", "--network", "n", "box")
    host.remove("last", "more0")
    host.start("again", "--network", "n")
    assert set(host.endpoints()) == {"first", "more1", "more2", "more3", "again"}


def test_a_container_that_cannot_be_leaves_its_address(any_host: Host) -> None:
    host = any_host
    host.network("n", "--subnet", "10.75.0.0/30")
    for _ in range(3):
        wrong = "name=n,driver-opt=ciliate.lables=a=b"
        assert "ciliate.lables" in refused(host, "run", "-d", "--name", "wrong", "--network", wrong, "box")
        host.remove("wrong")
    host.start("right", "--network", "n")


@pytest.mark.parametrize(
    "label", ["ciliate.labels=role=ok", "ciliate.bandwidth.egress=10M", "ciliate.tga=x", "network:id=7"]
)
def test_a_container_that_asks_by_label_for_what_cannot_be(any_host: Host, label: str) -> None:
    host = any_host
    host.network("n")
    message = refused(host, "run", "-d", "--name", "wrong", "--network", "n", "--label", label, "box")
    assert f"label {label.partition('=')[0]}" in message, message
    assert host.api("GET", "/v1/endpoint") == []


def test_a_label_that_is_refused_too_late_is_told_by_status(fresh_host: Callable[..., Host]) -> None:
    """The engine's API answers only after the container has started, and its files have not been found."""
    host = fresh_host()
    host.agent.start({"DOCKER_HOST": "unix:///run/late.sock"})
    host.network("n")
    host.start("wrong", "--network", "n", "--label", "ciliate.egress=api.example.com:443")
    host.run("ln", "-s", "/run/docker.sock", "/run/late.sock")
    host.until(
        lambda: "container wrong stays reserved:init" in host.ciliate("status", check=False).out,
        "status tells",
    )
    assert host.endpoints()["wrong"]["identity"] == Reserved.INIT
    health = host.ciliate("endpoint", "health", "wrong", check=False)
    assert health.status == 1 and "label ciliate.egress" in health.out


def test_a_network_in_use_stays(any_host: Host) -> None:
    host = any_host
    host.network("n")
    host.start("box", "--network", "n")
    assert "active endpoints" in refused(host, "network", "rm", "n")
    assert host.endpoints()["box"]["state"] == "ready"


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b"{", ["JSON"]),
        ([{"endpointSelecter": {}}], ["endpointSelecter"]),
        ([{"endpointSelector": {}, "ingress": [{"fromEndpoints": [{"matchLabels": 7}]}]}], ["matchLabels"]),
        (
            [
                {
                    "endpointSelector": {},
                    "ingress": [{"toPorts": [{"ports": [{"port": "70000", "protocol": "TCP"}]}]}],
                }
            ],
            ["ports[0].port", "70000"],
        ),
        (
            [{"endpointSelector": {}, "ingress": [{"fromCIDR": ["10.0.0.0/99"]}]}],
            ["fromCIDR[0]", "10.0.0.0/99"],
        ),
    ],
)
def test_a_policy_that_cannot_be(host: Host, body: object, names: list[str]) -> None:
    before = host.api("GET", "/v1/policy")
    answer = host.api("PUT", "/v1/policy", body, status=None)
    assert answer.status == 400, answer
    assert set(answer.json) >= {"error", "path", "hint"}
    assert all(name in answer.text for name in names), answer.text
    assert host.api("GET", "/v1/policy") == before


def test_requests_that_cannot_be(host: Host) -> None:
    assert host.api("GET", "/v1/nowhere", status=None).status == 404
    assert host.api("POST", "/v1/policy", [], status=None).status == 405
    assert host.api("PUT", "/v1/policy", b" " * (64 << 20), status=None).status == 413
    assert host.api("GET", "/v1/endpoint/99999", status=None).status == 404
