"""Containers of one network on three hosts: who reaches whom, as whom, and who does not."""

from __future__ import annotations

from tests.cluster.harness.bed import Bed
from tests.cluster.harness.shop import RULE, SPANNING
from tests.docker.harness.rules import allow, selector

TALKS = [(protocol, version) for protocol in ("tcp", "udp") for version in (4, 6)]


def test_labels_say_who_reaches_whom_on_other_hosts(bed: Bed) -> None:
    a, b, c = bed.nodes
    bed.each(lambda node: node.network("shop", *SPANNING))
    a.serve("web", "--network", "shop", "-l", "app=web")
    b.caller("good", "--network", "shop", "-l", "role=ok")
    c.caller("bad", "--network", "shop", "-l", "role=no")
    web = {version: a.address("web", "shop", version=version) for version in (4, 6)}
    for node, name in ((b, "good"), (c, "bad")):
        for protocol, version in TALKS:
            own = node.address(name, "shop", version=version)
            node.until(
                lambda: node.ask(name, protocol, web[version], 80, seconds=0.5) == f"web {own}",  # noqa: B023
                f"{name} reaches web over {protocol} and IPv{version} as itself",
            )

    bed.policy(RULE, at=c)
    for protocol, version in TALKS:
        assert b.ask("good", protocol, web[version], 80), (protocol, version)
        assert not c.ask("bad", protocol, web[version], 80, seconds=0.5), (protocol, version)
    denied = [
        flow
        for node in bed.nodes
        for flow in node.flows("verdict=DROPPED")
        if flow["reason"] == "POLICY_DENIED" and "container:role=no" in flow["source"]["labels"]
    ]
    assert denied, "a drop that tells who was denied"
    assert all("container:app=web" in flow["destination"]["labels"] for flow in denied)

    bed.policy(at=b)
    assert c.ask("bad", "tcp", web[4], 80)


def test_projects_of_the_same_name_on_two_hosts_are_strangers(bed: Bed) -> None:
    a, b, _ = bed.nodes
    for node in (a, b):
        node.network("app_default")
        node.serve("web", "--network", "app_default", "-l", "com.docker.compose.project=app")
        node.caller("client", "--network", "app_default", "-l", "com.docker.compose.project=app")
    webs = {node: node.address("web", "app_default") for node in (a, b)}
    assert webs[a] != webs[b], "addresses of one pool are given once"
    for node, other in ((a, b), (b, a)):
        assert node.ask("client", "tcp", webs[node], 80)
        assert not node.ask("client", "tcp", webs[other], 80, seconds=0.5)
    assert "NETWORKS_SEPARATE" in {flow["reason"] for flow in a.flows("verdict=DROPPED")}


def test_a_published_port_of_another_host_sees_the_container_not_its_node(bed: Bed) -> None:
    a, b, c = bed.nodes
    bed.each(lambda node: node.network("shop", *SPANNING), a, b)
    b.serve("web", "--network", "shop", "-l", "app=web", "-p", "8080:80")
    a.caller("good", "--network", "shop", "-l", "role=ok")
    a.caller("bad", "--network", "shop", "-l", "role=no")
    good = a.address("good", "shop")
    a.until(lambda: a.ask("good", "tcp", b.ip, 8080, seconds=0.5) == f"web {good}", "seen as itself")
    assert c.ask_from_host("tcp", b.ip, 8080) == f"web {c.ip}"

    bed.policy(allow(selector(app="web"), selector(role="ok")))
    assert a.ask("good", "tcp", b.ip, 8080) == f"web {good}"
    assert not a.ask("bad", "tcp", b.ip, 8080, seconds=0.5)
    assert not a.ask_from_host("tcp", b.ip, 8080, seconds=0.5), "a node is not its containers"
    assert not c.ask_from_host("tcp", b.ip, 8080, seconds=0.5)


def test_large_datagrams_and_long_streams_pass_both_ways(bed: Bed) -> None:
    a, b, _ = bed.nodes
    for node in (a, b):
        node.network("shop", *SPANNING)
        node.serve(f"web-{node.name}", "--network", "shop")
    for sender, to in ((a, b), (b, a)):
        for version in (4, 6):
            web = to.address(f"web-{to.name}", "shop", version=version)
            sender.until(
                lambda: sender.ask(f"web-{sender.name}", "udp", web, 80, seconds=0.5),  # noqa: B023
                f"{to}'s web over IPv{version}",
            )
            assert sender.sends_much(f"web-{sender.name}", web, 80), (sender, version)


def test_it_works_while_packets_get_lost(bed: Bed) -> None:
    a, b, _ = bed.nodes
    bed.each(lambda node: node.network("shop", *SPANNING), a, b)
    bed.underlay.lose(50)
    a.serve("web", "--network", "shop", "-l", "app=web")
    b.caller("good", "--network", "shop", "-l", "role=ok")
    b.caller("bad", "--network", "shop", "-l", "role=no")
    bed.policy(RULE)
    web = a.address("web", "shop")
    b.until(lambda: b.ask("good", "tcp", web, 80), "web answers")
    assert not b.ask("bad", "tcp", web, 80)
