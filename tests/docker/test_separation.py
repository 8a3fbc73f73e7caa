"""Who may talk to whom before any policy says so, and what policy adds."""

from __future__ import annotations

import time

from tests.docker.harness.host import Host
from tests.docker.harness.rules import allow, allow_entities, deny_all, port, selector


def drops(host: Host, since: str, source: str) -> set[str]:
    """The reasons for which packets of `source` (a container's name) were dropped."""
    time.sleep(0.2)
    return {
        flow["reason"]
        for flow in host.flows(f"since={since}")
        if flow.get("verdict") == "DROPPED" and flow["source"]["name"] == source
    }


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def test_networks_are_separate_and_the_drop_says_so(any_host: Host) -> None:
    host = any_host
    host.network("one")
    host.network("two")
    host.serve("web", "--network", "one")
    host.caller("stranger", "--network", "two")
    began = now()
    assert not host.ask("stranger", "tcp", host.address("web", "one"), 80, seconds=0.5)
    assert drops(host, began, "stranger") == {"NETWORKS_SEPARATE"}


def test_flat_networks_are_one(host: Host) -> None:
    for name in ("one", "two"):
        host.network(name, "-o", "ciliate.flat=true")
    host.network("three")
    host.serve("web", "--network", "one")
    host.caller("client", "--network", "two")
    host.caller("stranger", "--network", "three")
    assert host.ask("client", "tcp", host.address("web", "one"), 80)
    assert not host.ask("stranger", "tcp", host.address("web", "one"), 80, seconds=0.5)


def test_policy_by_labels(any_host: Host) -> None:
    host = any_host
    host.network("n")
    host.serve("web", "--network", "n", "-l", "app=web", ports=(80, 81))
    host.caller("good", "--network", "n", "-l", "role=ok")
    host.caller("bad", "--network", "n", "-l", "role=no")
    web = host.address("web", "n")
    assert host.ask("bad", "tcp", web, 80)

    host.policy(allow(selector(app="web"), selector(role="ok"), port(80)))
    began = now()
    assert host.ask("good", "tcp", web, 80)
    assert not host.ask("good", "tcp", web, 81, seconds=0.5)
    assert not host.ask("good", "udp", web, 80, seconds=0.5)
    assert not host.ask("bad", "tcp", web, 80, seconds=0.5)
    assert not host.pings("bad", web, seconds=1)
    assert drops(host, began, "bad") == {"POLICY_DENIED"}
    denied = next(flow for flow in host.flows("verdict=DROPPED") if flow["source"]["name"] == "bad")
    assert "container:role=no" in denied["source"]["labels"]
    assert "container:app=web" in denied["destination"]["labels"]

    host.policy()
    assert host.ask("bad", "tcp", web, 80)


def test_a_revoked_rule_ends_a_live_connection_at_its_next_packet(host: Host) -> None:
    host.network("n")
    host.serve("web", "--network", "n", "-l", "app=web")
    host.caller("client", "--network", "n", "-l", "role=ok")
    host.policy(allow(selector(app="web"), selector(role="ok")))
    lines = host.sandbox.directory / "held"
    with lines.open("wb") as log:
        held = host.sandbox.start(
            *("docker", "exec", "client", "python3", "/speaker.py", "hold", host.address("web", "n"), "80"),
            log=log,
        )
    try:
        host.until(lambda: len(lines.read_text().splitlines()) > 5, "the connection lives")
        host.policy(deny_all(selector(app="web")))
        answered = len(lines.read_text().splitlines())
        assert held.wait(10) == 1
        assert len(lines.read_text().splitlines()) <= answered + 1, "one answer may have been on its way"
    finally:
        held.kill()
        held.wait()


def test_a_network_with_enforcement_always_denies_until_a_rule_allows(host: Host) -> None:
    host.network("n", "-o", "ciliate.enforcement=always")
    host.serve("web", "--network", "n", "-l", "app=web")
    host.caller("client", "--network", "n", "-l", "role=ok")
    web = host.address("web", "n")
    assert not host.ask("client", "tcp", web, 80, seconds=0.5)
    host.policy(
        allow(selector(app="web"), selector(role="ok")),
        {"endpointSelector": selector(role="ok"), "egress": [{"toEndpoints": [selector(app="web")]}]},
    )
    assert host.ask("client", "tcp", web, 80)


def test_networks_that_forbid_the_host_the_world_or_each_other(host: Host) -> None:
    host.network("no-host", "-o", "ciliate.host=false")
    host.network("no-world", "-o", "ciliate.world=false")
    host.network("alone", "-o", "com.docker.network.bridge.enable_icc=false")
    for name in ("no-host", "no-world", "alone"):
        host.serve(f"web-{name}", "--network", name)
        host.serve(f"other-{name}", "--network", name)
    with host.world.serving(7):
        world = {
            name: bool(host.ask(f"web-{name}", "tcp", "198.51.100.1", 7, seconds=0.5))
            for name in ("no-host", "no-world", "alone")
        }
    assert world == {"no-host": True, "no-world": False, "alone": True}
    from_host = {
        name: bool(host.ask_from_host("tcp", host.address(f"web-{name}", name), 80, seconds=0.5))
        for name in ("no-host", "no-world", "alone")
    }
    assert from_host == {"no-host": False, "no-world": True, "alone": True}
    each_other = {
        name: bool(host.ask(f"web-{name}", "tcp", host.address(f"other-{name}", name), 80, seconds=0.5))
        for name in ("no-host", "no-world", "alone")
    }
    assert each_other == {"no-host": True, "no-world": True, "alone": False}


def test_the_host_is_judged_like_anybody(host: Host) -> None:
    host.network("n")
    host.serve("web", "--network", "n", "-l", "app=web")
    web = host.address("web", "n")
    assert host.ask_from_host("tcp", web, 80)
    host.policy(allow(selector(app="web"), selector(role="ok")))
    assert not host.ask_from_host("tcp", web, 80, seconds=0.5)
    host.policy(allow_entities(selector(app="web"), "host"))
    assert host.ask_from_host("tcp", web, 80)


def test_a_container_of_dockers_own_bridge_is_unmanaged(host: Host) -> None:
    host.network("n")
    host.serve("web", "--network", "n", "-l", "app=web")
    host.caller("outsider")
    host.policy(allow_entities(selector(app="web"), "world"))
    assert not host.ask("outsider", "tcp", host.address("web", "n"), 80, seconds=0.5), "it is not the world"
    denied = [
        flow for flow in host.flows("verdict=DROPPED") if "reserved:unmanaged" in flow["source"]["labels"]
    ]
    assert denied and denied[-1]["destination"]["name"] == "web"


def test_broadcast_and_multicast_are_dropped_with_a_reason(host: Host) -> None:
    host.network("n")
    host.start("shouter", "--network", "n")
    began = now()
    for target in ("255.255.255.255", "224.0.0.1"):
        assert not host.pings("shouter", target, seconds=1)
    assert drops(host, began, "shouter") == {"MULTICAST"}


def test_the_hosts_broadcast_address_is_the_host(host: Host) -> None:
    host.network("no-host", "-o", "ciliate.host=false")
    host.start("shouter", "--network", "no-host")
    began = now()
    assert not host.pings("shouter", "192.0.2.255", seconds=1), "every service of the host would hear it"
    assert drops(host, began, "shouter") == {"HOST_FORBIDDEN"}
