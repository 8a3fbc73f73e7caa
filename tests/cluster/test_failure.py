"""What breaks while traffic runs: nothing that is denied gets through, no connection is lost to policy, all nodes agree
again soon after, and nothing stays behind in Consul.

The stories share one bed and one traffic, in this order. The longest one, a host that is cut off from Consul for three
times as long as its session lives, has a bed of its own and waits while the others play. What they measure stands in
build/failures.json; the table of docs/guide/cluster.md is written from it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.cluster.harness.bed import Bed
from tests.cluster.harness.clock import faked, set_clock
from tests.cluster.harness.node import Node
from tests.cluster.harness.shop import NETWORK, Traffic, open_at, open_shop
from tests.docker.harness.agent_process import REPOSITORY
from tests.docker.harness.consul import GOSSIP, RAFT
from tests.docker.harness.lending import engine, watch
from tests.docker.harness.power import cut, switch_on
from tests.docker.harness.rules import allow, selector
from tests.docker.harness.sandbox import wait_until

CONVERGED = 5.0
"""Seconds in which all nodes agree again."""

SESSION_SECONDS = 30

LATE = allow(selector(app="web"), selector(role="late"))
"""A rule that comes while something is broken."""

MEASURED: list[dict[str, Any]] = []


@dataclass
class Broken:
    """A bed with traffic in it, for one story. `since`: when it began."""

    bed: Bed
    traffic: Traffic
    since: float = field(default_factory=time.monotonic)

    def healed(self, what: str, at: float | None = None, without: Node | None = None) -> None:
        """To be called once what broke is repaired, at this moment or `at`. All must agree soon; and nobody may have
        got through, nor a connection have ended but those of the node `without`."""
        at = at or time.monotonic()
        while problem := disagreement(self.bed):
            assert time.monotonic() < at + CONVERGED, f"after {CONVERGED:g} s: {problem}"
            time.sleep(0.05)
        agreed = time.monotonic() - at
        if without is None:
            self.traffic.flows(time.monotonic())
            silence = round(self.traffic.gap(self.since), 1)
            MEASURED.append({"what": what, "silence": silence, "agreed": round(agreed, 1)})
        assert not self.traffic.opened(), "what is denied got through"
        assert not self.traffic.lost(without), "kept connections ended"
        assert len(self.bed.nodes[0].consul.get("/v1/session/list")) == len(self.bed.nodes)


def disagreement(bed: Bed) -> str:
    """What is not as it should be: Consul has all nodes and the addresses of all containers and no others, every node
    knows them, and all have the same rules."""
    addresses = {
        f"{node.name}/{endpoint[version]}/{bits}"
        for node in bed.nodes
        for endpoint in node.api("GET", "/v1/endpoint")
        for version, bits in (("ipv4", 32), ("ipv6", 128))
    }
    stored = bed.stored()
    published = {key.removeprefix("ips/") for key in stored if key.startswith("ips/")}
    if published != addresses:
        return f"Consul has the addresses {published}, containers have {addresses}"
    nodes = {key.removeprefix("nodes/") for key in stored if key.startswith("nodes/")}
    if nodes != {node.name for node in bed.nodes}:
        return f"Consul has the nodes {nodes}"
    rules = [
        rule
        for value in (stored[key] for key in stored if key.startswith("policies/"))
        for rule in value["rules"]
    ]
    for node in bed.nodes:
        known = {entry["prefix"] for entry in node.api("GET", "/v1/ip")}
        if missing := {address.partition("/")[2] for address in addresses} - known:
            return f"{node} does not know {missing}"
        if has_not := [rule for rule in rules if not has(node, rule)]:
            return f"{node} does not enforce {has_not}"
    return ""


def has(node: Node, rule: object) -> bool:
    return rule in node.api("GET", "/v1/policy")["policy"]


def stores_late_rule(node: Node) -> bool:
    """False where Consul does not answer, also if it takes longer than we wait to say so."""
    with suppress(TimeoutError):
        return bool(node.api("PUT", "/v1/policy/name/late", [LATE], status=None).status == 200)
    return False


def says_so(node: Node) -> bool:
    """Does `ciliate status` tell that Consul does not answer?"""
    (line,) = (line for line in node.ciliate("status", check=False).lines if line.startswith("Store "))
    return "not answering" in line


@pytest.fixture(scope="module")
def cut_off() -> Iterator[Broken]:
    """Another bed, whose last node does not reach Consul from now on."""
    with Bed.made(engine()) as bed:
        bed.each(Node.start_agent)
        open_shop(bed)
        with Traffic.between(bed) as traffic:
            bed.underlay.cut_ports(bed.nodes[-1].number, [RAFT, GOSSIP])
            yield Broken(bed, traffic)


@pytest.fixture(scope="module")
def shop(shared_bed: Bed, cut_off: Broken) -> Iterator[Broken]:
    shared_bed.heal()
    open_shop(shared_bed)
    try:
        with Traffic.between(shared_bed) as traffic:
            yield Broken(shared_bed, traffic)
    finally:
        shared_bed.each(Node.empty)
        path = REPOSITORY / "build" / "failures.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(MEASURED, indent=1) + "\n")


@pytest.fixture
def broken(request: pytest.FixtureRequest, shop: Broken) -> Iterator[Broken]:
    watch(request, *shop.bed.nodes)
    yield Broken(shop.bed, shop.traffic)
    shop.bed.heal()
    shop.bed.nodes[0].api("DELETE", "/v1/policy/name/late", status=None)


def test_agents_are_killed(broken: Broken) -> None:
    for node in broken.bed.nodes:
        node.agent.kill()
    for node in broken.bed.nodes:
        node.agent.wait_ready()
    broken.healed("`kill -9` of all agents")


def test_the_leader_of_consul_is_killed(broken: Broken) -> None:
    leader = broken.bed.leader()
    one, other = (node for node in broken.bed.nodes if node is not leader)
    leader.consul.kill()
    wait_until(lambda: stores_late_rule(one), "rules are stored under another leader", 60, 0.5)
    other.until(lambda: has(other, LATE), "the other node has them")
    assert not has(leader, LATE), "its node does not hear of them, and goes on with what it has"
    broken.bed.heal()
    broken.healed("`kill -9` of the Consul leader")
    assert has(leader, LATE)


def test_consul_loses_its_quorum(broken: Broken) -> None:
    a, b, c = broken.bed.nodes
    for node in (b, c):
        node.consul.kill()
    for node in broken.bed.nodes:
        node.until(lambda node=node: says_so(node), f"{node} says that Consul does not answer")
    refused = a.api("PUT", "/v1/policy/name/late", [LATE], status=None)
    assert refused.status == 503, refused.text

    # Known labels have an identity, and go on with it; new ones wait, as reserved:init.
    a.caller("known", "--network", NETWORK, "-l", "role=ok")
    a.caller("new", "--network", NETWORK, "-l", "role=new")
    web = a.address("web-a", NETWORK)
    assert a.ask("known", "tcp", web, 80)
    assert not a.ask("new", "tcp", web, 80, seconds=0.5)
    assert a.endpoints()["new"]["labels"] == ["reserved:init"]

    broken.bed.heal()
    healed = time.monotonic()
    a.until(lambda: a.endpoints()["new"]["labels"] != ["reserved:init"], "it is known at last", CONVERGED)
    broken.healed("two of three Consul servers killed", healed)
    a.remove("known", "new")


def test_a_host_is_cut_off_wholly(broken: Broken) -> None:
    a, b, _ = broken.bed.nodes
    broken.bed.underlay.cut(b.number)
    wait_until(lambda: stores_late_rule(a), "rules are stored by the others", 60, 0.5)
    a.settle(5)
    assert not has(b, LATE)
    broken.bed.heal()
    broken.healed("a host cut off from all others")
    assert has(b, LATE)


def test_the_clock_of_a_host_jumps(broken: Broken) -> None:
    a, b, _ = broken.bed.nodes
    b.agent.stop()
    b.agent.start(faked(b))
    for seconds, where in ((86400, "ahead"), (-86400, "back")):
        set_clock(b, seconds)
        a.settle(1)
        assert stores_late_rule(a)
        broken.healed(f"the clock of a host jumps a day {where}")
        a.api("DELETE", "/v1/policy/name/late")
    b.agent.stop()
    b.agent.start()


def test_a_host_loses_its_state(broken: Broken) -> None:
    c = broken.bed.nodes[2]
    c.agent.stop()
    c.run("sh", "-c", "rm -rf /var/lib/ciliate/*.db*")
    c.start_agent()
    c.remove(*c.docker("ps", "-aq").lines)
    c.docker("network", "rm", NETWORK)
    open_at(c)
    broken.healed("the state of a host is wiped", without=c)


def test_everything_loses_its_power(broken: Broken) -> None:
    bed = broken.bed
    bed.each(cut)
    for node in bed.nodes:
        node.consul.start()
    bed.each(switch_on)
    bed.heal()
    healed = time.monotonic()
    for node in bed.nodes:
        node.until(lambda node=node: len(node.docker("ps", "-q").lines) == 3, "its containers are back", 60)
    with Traffic.between(bed) as traffic:
        Broken(bed, traffic).healed("everything loses its power and is switched on", healed)


def test_a_host_is_cut_off_from_consul_alone(request: pytest.FixtureRequest, cut_off: Broken) -> None:
    bed = cut_off.bed
    watch(request, *bed.nodes)
    a, _, c = bed.nodes
    wait_until(
        lambda: time.monotonic() > cut_off.since + 3 * SESSION_SECONDS, "three lives of a session", 120, 1
    )
    assert f"nodes/{c.name}" not in bed.stored(), "its session has ended"
    assert stores_late_rule(a) and not has(c, LATE)
    assert says_so(c)
    assert cut_off.traffic.gap(cut_off.since) < 2, "nobody has noticed"
    c.caller("known", "--network", NETWORK, "-l", "role=ok")
    assert c.ask("known", "tcp", c.address("web-c", NETWORK), 80)
    bed.heal()
    cut_off.healed("a host cut off from Consul alone, for 90 s")
    assert has(c, LATE)
