"""Published ports: reached from other machines, from the host and from containers, and judged by ingress policy."""

from __future__ import annotations

from tests.docker.harness.host import Host
from tests.docker.harness.rules import allow, allow_entities, selector
from tests.docker.harness.world import HOST4, HOST6, ROUTER4, ROUTER6


def test_a_published_port_is_reached_from_everywhere(any_host: Host) -> None:
    host = any_host
    host.network("n", "--ipv6")
    host.network("other", "--ipv6")
    host.serve("web", "--network", "n", "-p", "8080:80", "-p", "8080:80/udp", ports=(80,))
    host.caller("neighbour", "--network", "n")
    host.caller("stranger", "--network", "other")
    host.caller("outsider")

    for protocol in ("tcp", "udp"):
        assert host.world.ask(protocol, HOST4, 8080) == f"web {ROUTER4}", "the caller's own address is seen"
        assert host.world.ask(protocol, HOST6, 8080) == f"web {ROUTER6}"
        assert host.ask_from_host(protocol, HOST4, 8080).startswith("web ")
        assert host.ask_from_host(protocol, HOST6, 8080).startswith("web ")
        for container in ("neighbour", "stranger", "web"):
            assert host.ask(container, protocol, HOST4, 8080).startswith("web "), (container, protocol)
            assert host.ask(container, protocol, HOST6, 8080).startswith("web "), (container, protocol)
        assert host.ask("outsider", protocol, HOST4, 8080).startswith("web ")
    assert host.ask_from_host("tcp", "127.0.0.1", 8080).startswith("web ")


def test_docker_shows_nothing_but_the_endpoint_does(host: Host) -> None:
    host.network("n")
    host.start("web", "--network", "n", "-p", "127.0.0.1:8081:80", "-p", "80/udp")
    (first, second) = sorted(host.endpoints()["web"]["ports"], key=lambda port: str(port["protocol"]))
    assert (first["protocol"], first["host_ip"], first["host_port"], first["port"]) == (
        "tcp",
        "127.0.0.1",
        8081,
        80,
    )
    assert second["protocol"] == "udp" and second["host_port"] > 1024 and second["port"] == 80


def test_a_port_bound_to_one_address_is_not_on_others(host: Host) -> None:
    host.network("n")
    host.serve("web", "--network", "n", "-p", "127.0.0.1:8082:80")
    assert host.ask_from_host("tcp", "127.0.0.1", 8082)
    assert not host.world.ask("tcp", HOST4, 8082, seconds=0.5)


def test_a_network_option_says_where_ports_are_bound(host: Host) -> None:
    host.network("n", "-o", "com.docker.network.bridge.host_binding_ipv4=127.0.0.1")
    host.serve("web", "--network", "n", "-p", "8083:80")
    assert host.ask_from_host("tcp", "127.0.0.1", 8083)
    assert not host.world.ask("tcp", HOST4, 8083, seconds=0.5)


def test_policy_judges_whoever_comes_through_a_published_port(any_host: Host) -> None:
    host = any_host
    host.network("n")
    host.serve("web", "--network", "n", "-l", "app=web", "-p", "8084:80")
    host.caller("good", "--network", "n", "-l", "role=ok")
    host.caller("bad", "--network", "n", "-l", "role=no")

    host.policy(allow(selector(app="web"), selector(role="ok")))
    assert not host.world.ask("tcp", HOST4, 8084, seconds=0.5)
    assert not host.ask_from_host("tcp", HOST4, 8084, seconds=0.5)
    assert host.ask("good", "tcp", HOST4, 8084), "who comes from a container stays who it is"
    assert not host.ask("bad", "tcp", HOST4, 8084, seconds=0.5)

    host.policy(allow_entities(selector(app="web"), "world"))
    assert host.world.ask("tcp", HOST4, 8084)
    assert not host.ask("good", "tcp", HOST4, 8084, seconds=0.5)


def test_ports_of_a_container_on_internal_networks_alone_are_told_of(any_host: Host) -> None:
    """The engine starts it and asks no driver for its ports."""
    host = any_host
    host.network("n", "--internal")
    host.network("open")
    host.start("web", "--network", "n", "-p", "8087:80")
    assert "PORTS ports of container web" in host.ciliate("status", check=False).out
    assert host.endpoints()["web"]["ports"] == []
    host.docker("network", "connect", "open", "web")
    assert "PORTS" not in host.ciliate("status", check=False).out
    assert {8087} == {
        port["host_port"] for endpoint in host.api("GET", "/v1/endpoint") for port in endpoint["ports"]
    }


def test_a_taken_port_fails_the_start_with_the_reason(any_host: Host) -> None:
    host = any_host
    host.network("n")
    host.start("first", "--network", "n", "-p", "8085:80")
    failed = host.docker(
        "run", "-d", "--name", "second", "--network", "n", "-p", "8085:80", "box", check=False
    )
    assert failed.status != 0 and "8085" in failed.err
    host.remove("second")
    host.remove("first")
    host.serve("third", "--network", "n", "-p", "8085:80")
    assert host.ask_from_host("tcp", "127.0.0.1", 8085), "the port is free again once its holder is gone"


def test_a_port_is_gone_with_its_container(host: Host) -> None:
    host.network("n")
    host.serve("web", "--network", "n", "-p", "8086:80")
    host.docker("stop", "web")
    assert not host.ask_from_host("tcp", HOST4, 8086, seconds=0.5)
    host.docker("start", "web")
    host.until(lambda: host.world.ask("tcp", HOST4, 8086), "the port is back with the container")
