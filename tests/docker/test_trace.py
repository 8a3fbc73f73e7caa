"""What a trace says is what happens to packets; what a draft is said to change, it changes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.docker.harness.host import Host
from tests.docker.harness.rules import allow, port, selector
from tests.docker.harness.world import FAR4


def trace(host: Host, source: str, destination: str, dport: str) -> Any:
    command = ("policy", "trace", "--src", source, "--dst", destination, "--dport", dport, "-o", "json")
    return json.loads(host.ciliate(*command).out)


@pytest.fixture
def shop(host: Host) -> Host:
    """web serves 80 and 81; client may reach 80; the far end of the world may be reached on 7, by client alone."""
    host.network("n")
    host.network("elsewhere")
    host.serve("web", "--network", "n", "-l", "app=web", ports=(80, 81))
    host.caller("client", "--network", "n", "-l", "role=ok")
    host.caller("stranger", "--network", "n", "-l", "role=no")
    host.caller("outsider", "--network", "elsewhere", "-l", "role=ok")
    host.policy(
        allow(selector(app="web"), selector(role="ok"), port(80)),
        {
            "endpointSelector": selector(role="no"),
            "egressDeny": [{"toCIDR": ["198.51.100.0/24"]}],
            "enableDefaultDeny": {"egress": False},
        },
    )
    return host


def test_it_says_what_happens(shop: Host) -> None:
    web = shop.address("web", "n")
    verdicts = {}
    for source in ("client", "stranger", "outsider"):
        for number in (80, 81):
            answer = trace(shop, source, "web", f"{number}/tcp")
            assert trace(shop, source, web, f"{number}/tcp")["verdict"] == answer["verdict"], "by address too"
            verdicts[source, number] = answer["verdict"]
            passes = bool(shop.ask(source, "tcp", web, number, seconds=0.5))
            assert passes == (answer["verdict"] == "allowed"), (source, number)
            assert answer["egress"]["agrees"] and answer["ingress"]["agrees"]
    assert [pair for pair, verdict in verdicts.items() if verdict == "allowed"] == [("client", 80)]
    assert trace(shop, "outsider", "web", "80/tcp")["reason"] == "Endpoints are on separate networks"
    assert trace(shop, "host", "web", "80/tcp")["verdict"] == "denied"
    assert not shop.ask_from_host("tcp", web, 80, seconds=0.5)


def test_the_world_by_address_and_by_name(shop: Host) -> None:
    hosts = shop.path("/etc/hosts")
    before = hosts.read_text() if hosts.exists() else None
    hosts.unlink(missing_ok=True)
    hosts.write_text(f"{before or ''}\n{FAR4} far.example\n")
    try:
        with shop.world.serving(7):
            for source, verdict in (("client", "allowed"), ("stranger", "denied")):
                assert trace(shop, source, FAR4, "7/tcp")["verdict"] == verdict
                assert trace(shop, source, "far.example", "7/tcp")["destination"]["name"] == FAR4
                assert bool(shop.ask(source, "tcp", FAR4, 7, seconds=0.5)) == (verdict == "allowed")
        asked = ("--src", "stranger", "--dst", "far.example", "--dport", "7")
        ran = shop.ciliate("policy", "trace", *asked)
        assert ran.err == f"far.example is {FAR4} by this host's DNS\n"
        assert ran.out.startswith(
            f"DENIED: stranger -> {FAR4}, 7/tcp\negress of stranger: rule 1, egressDeny[0]"
        )
    finally:
        hosts.unlink()
        if before is not None:
            hosts.write_text(before)


def test_what_networks_forbid(host: Host) -> None:
    options = {
        "no-host": "ciliate.host=false",
        "no-world": "ciliate.world=false",
        "alone": "com.docker.network.bridge.enable_icc=false",
    }
    for name, option in options.items():
        host.network(name, "-o", option)
        host.serve(f"web-{name}", "--network", name)
        host.caller(f"caller-{name}", "--network", name)
    with host.world.serving(7):
        for name in options:
            web = host.address(f"web-{name}", name)
            happens = {
                ("host", f"web-{name}", "80"): host.ask_from_host("tcp", web, 80, seconds=0.5),
                (f"caller-{name}", f"web-{name}", "80"): host.ask(
                    f"caller-{name}", "tcp", web, 80, seconds=0.5
                ),
                (f"caller-{name}", FAR4, "7"): host.ask(f"caller-{name}", "tcp", FAR4, 7, seconds=0.5),
            }
            for asked, answer in happens.items():
                assert (trace(host, *asked)["verdict"] == "allowed") == bool(answer), asked


def test_audit_mode(shop: Host) -> None:
    web = shop.address("web", "n")
    shop.api("PATCH", f"/v1/endpoint/{shop.endpoints()['web']['id']}/config", {"audit": True})
    assert trace(shop, "client", "web", "81/tcp")["verdict"] == "audit"
    assert shop.ask("client", "tcp", web, 81)
    assert trace(shop, "outsider", "web", "80/tcp")["verdict"] == "denied"
    assert not shop.ask("outsider", "tcp", web, 80, seconds=0.5)


def test_the_entry_that_it_names_is_in_the_kernel(shop: Host) -> None:
    side = trace(shop, "client", "web", "80/tcp")["ingress"]
    wanted = {
        "slot": side["slot"],
        **{name: side["entry"][name] for name in ("direction", "peer", "protocol", "port")},
    }
    entries = json.loads(shop.ciliate("bpf", "policy", "list", "-o", "json").out)
    found = [entry for entry in entries if wanted.items() <= entry["key"].items()]
    assert [entry["value"]["deny"] for entry in found] == [False]


def test_the_policy_of_a_running_container(shop: Host) -> None:
    client = shop.endpoints()["client"]
    lines = shop.ciliate("endpoint", "get", "web", "--policy").lines
    at = lines.index("    ingress[0]: allow from role=ok on 80/TCP")
    assert lines[at - 1] == "  rule 0 selects app=web"
    assert (
        lines[at + 1].startswith("      now ")
        and f"{client['identity']} (container:role=ok)" in lines[at + 1]
    )
    selectors = json.loads(shop.ciliate("policy", "selectors", "-o", "json").out)
    chosen = {each["selector"]: each["identities"] for each in selectors}
    assert client["identity"] in chosen["role=ok"]


def test_a_draft_does_what_it_is_said_to_do(shop: Host) -> None:
    """A folder of sets is checked, applied, changed and pruned; packets follow."""
    web = shop.address("web", "n")
    folder = shop.path("/root/sets")
    folder.mkdir(parents=True)
    (folder / "stranger.json").write_text(
        json.dumps(allow(selector(app="web"), selector(role="no"), port(81)))
    )
    (folder / "off.json").write_text(
        json.dumps(
            {
                "endpointSelector": selector(role="ok"),
                "egressDeny": [{"toEndpoints": [selector(app="web")]}],
                "enableDefaultDeny": {"egress": False},
            }
        )
    )
    inside = "/root/sets"
    try:
        said = json.loads(shop.ciliate("policy", "check", f"{inside}/stranger.json", "-o", "json").out)
        (change,) = said["changes"]
        assert (change["change"], change["direction"], change["services"]) == ("allowed", "ingress", "81/TCP")
        assert [peer["id"] for peer in change["peers"]] == [shop.endpoints()["stranger"]["identity"]]

        shop.ciliate("policy", "apply", "-f", inside, "--wait", "5")
        assert shop.ask("stranger", "tcp", web, 81)
        assert not shop.ask("client", "tcp", web, 80, seconds=0.5)

        (folder / "off.json").unlink()
        ran = shop.ciliate("policy", "apply", "-f", inside, "--prune", "--wait", "5", "-o", "json")
        assert {each["name"]: each["result"] for each in json.loads(ran.out)} == {
            "stranger": "unchanged",
            "off": "pruned",
        }
        assert shop.ask("client", "tcp", web, 80)
    finally:
        for name in ("stranger", "off"):
            shop.ciliate("policy", "delete", "--name", name, check=False)
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
