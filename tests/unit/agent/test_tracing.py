"""The way of a packet, as REST answers it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any

import pytest
from immutables import Map

from agent import policy_schema
from agent.events import PeersSynced
from agent.state import RemoteNode
from agent.tracing import parse_service
from model.errors import InvalidInput
from model.labels import Labels
from model.network import ELSEWHERE
from store.keys import IPRecord
from tests.unit.agent.node import Node, allow


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node().start()
    for number in (0, 1):
        node.network(number)
    node.join(0, "web")
    node.join(1, "client")
    node.join(2, "stranger", in_network=1)
    node.put(allow("web", "client"))
    yield node
    node.stop()


def ask(node: Node, source: str, destination: str, dport: str = "80/tcp", *, full: bool = False) -> Any:
    answer = node.rules.trace(source, destination, dport, full=full)
    assert policy_schema.TraceSchema().validate(answer) == {}
    return answer


def test_a_packet_that_both_ends_allow(node: Node) -> None:
    answer = ask(node, "2", "1")
    assert (answer["verdict"], answer["reason"]) == ("allowed", "both ends allow it")
    assert answer["revision"] == node.rules.revision
    web = node.state.endpoints["e0"].identity
    client = node.state.endpoints["e1"].identity
    assert answer["ingress"]["slot"] == node.state.subjects[web].slot
    entry = {"direction": "ingress", "peer": client, "protocol": "tcp", "port": "80", "deny": False}
    assert answer["ingress"]["entry"] == entry
    assert answer["egress"]["entry"] == {
        "direction": "egress", "peer": 0, "protocol": "any", "port": "any", "deny": False
    }  # fmt: skip


def test_the_entry_is_in_the_kernels_map(node: Node) -> None:
    answer = ask(node, "2", "1")["ingress"]
    held = node.datapath.policy(answer["slot"]) or {}
    found = [
        key
        for key in held
        if key.identity == answer["entry"]["peer"] and str(key.port) == answer["entry"]["port"]
    ]
    assert len(found) == 1


def test_the_side_that_denies_is_named(node: Node) -> None:
    answer = ask(node, "2", "1", "81")
    assert answer["verdict"] == answer["ingress"]["verdict"] == "denied"
    assert answer["reason"].startswith("ingress of endpoint 1: no rule allows it")
    assert (answer["egress"]["verdict"], answer["ingress"]["entry"]) == ("allowed", None)


def test_what_only_an_audited_set_denies_passes(node: Node) -> None:
    body = json.dumps([allow("web", "other"), allow("client", "other")]).encode()
    node.rules.put_named("tried", body, "", wait=5.0, dry_run=False, audit=True)
    assert ask(node, "2", "1")["verdict"] == "allowed", "the set allows less, but the rules add up"
    answer = ask(node, "1", "2")
    assert (answer["verdict"], answer["ingress"]["verdict"], answer["ingress"]["audit"]) == (
        "audit", "audit", False,
    )  # fmt: skip
    assert answer["reason"] == (
        "ingress of endpoint 2: no rule allows it, and ingress is denied by default: "
        "rule 2 (set tried, audited, to=client) selects it"
    )
    assert answer["ingress"]["agrees"] and not answer["ingress"]["enforced"]
    assert ask(node, "1", "2", full=True)["ingress"]["rules"][-1]["elements"][0]["matches"] is False


def test_in_audit_mode_what_policy_denies_passes(node: Node) -> None:
    """Each end is in a mode of its own."""
    web, client = node.state.endpoints["e0"], node.state.endpoints["e1"]
    node.realm.put_endpoint(replace(client, audit=True))
    assert ask(node, "2", "1", "81")["verdict"] == "denied", "web is not"
    node.realm.put_endpoint(replace(web, audit=True))
    answer = ask(node, "2", "1", "81")
    assert (answer["verdict"], answer["ingress"]["verdict"], answer["ingress"]["audit"]) == (
        "audit",
        "denied",
        True,
    )
    assert answer["reason"].startswith("ingress of endpoint 1: no rule allows it")
    assert ask(node, "role=client", "role=web", "81")["verdict"] == "audit"
    assert ask(node, "2", "1")["verdict"] == "allowed"
    assert ask(node, "3", "1")["verdict"] == "denied", "networks are no policy"


def test_networks_come_before_rules(node: Node) -> None:
    answer = ask(node, "3", "1")
    assert (answer["verdict"], answer["reason"]) == ("denied", "Endpoints are on separate networks")
    assert answer["networks"]["verdict"] == "denied"


def test_a_container_of_another_node_is_met_where_its_network_is(node: Node) -> None:
    shared = node.state.networks["n0"]
    labels = {
        300: Labels.parse(["container:role=client", f"network:id={shared.id}"]),
        301: Labels.parse(["container:role=client", "network:id=far"]),
        302: Labels.parse(["container:role=client", "network:id=farther"]),
    }
    ips = {"10.9.0.5": 300, "10.9.0.6": 301, "10.9.0.7": 302}
    there = RemoteNode(
        (ip_address("192.0.2.2"),),
        IPv4Address("192.0.2.2"),
        frozenset([ip_network("10.9.0.0/24")]),
        Map({ip_network(address): IPRecord(number, ELSEWHERE) for address, number in ips.items()}),
    )
    node.loop.call(PeersSynced({"two": there}, labels))
    answer = ask(node, "10.9.0.5", "1")
    assert (answer["verdict"], answer["source"]["note"]) == ("allowed", "of node two")
    assert ask(node, "identity:300", "1")["verdict"] == "allowed"
    for source, destination in (("10.9.0.6", "1"), ("identity:301", "1"), ("10.9.0.6", "10.9.0.7")):
        assert ask(node, source, destination)["networks"]["verdict"] == "denied"
    assert ask(node, "192.0.2.2", "1")["source"]["name"] == "192.0.2.2"


def test_who_is_no_container_has_no_rules(node: Node) -> None:
    answer = ask(node, "host", "1")
    assert (answer["egress"]["judged"], answer["ingress"]["judged"]) == (False, True)
    assert answer["reason"].startswith("ingress of endpoint 1")


def test_an_address_that_nobody_has(node: Node) -> None:
    answer = ask(node, "1", "10.0.0.200")
    assert (answer["verdict"], answer["reason"]) == ("denied", "Unknown destination")


def test_a_container_that_does_not_exist_yet_is_judged_too(node: Node) -> None:
    answer = ask(node, "1", "role=web,tier=new")
    side = answer["ingress"]
    assert (answer["destination"]["identity"], side["slot"], side["verdict"]) == (None, None, "denied")
    answer = ask(node, "role=client,tier=new", "1")
    assert answer["verdict"] == "allowed"
    assert answer["ingress"]["entry"]["peer"] is None


def test_a_full_trace_has_the_rules_about_others_too(node: Node) -> None:
    assert [rule["selects"] for rule in ask(node, "2", "1")["egress"]["rules"]] == []
    assert [rule["selects"] for rule in ask(node, "2", "1", full=True)["egress"]["rules"]] == [False]


@pytest.mark.parametrize(
    ("text", "service"),
    [
        ("80", (6, 80)),
        ("80/tcp", (6, 80)),
        ("53/UDP", (17, 53)),
        ("9/sctp", (132, 9)),
        ("icmp", (1, 8)),
        ("icmpv6", (58, 128)),
        ("13/icmp", (1, 13)),
        ("EchoReply/icmp", (1, 0)),
        ("ExtendedEchoRequest/icmpv6", (58, 160)),
    ],
)
def test_services(text: str, service: tuple[int, int]) -> None:
    assert parse_service(text) == service


@pytest.mark.parametrize(
    "text", ["", "tcp", "0", "65536", "80/any", "80/ip", "/tcp", "-1/tcp", "256/icmp", "x/icmp", "٣", "80-90"]
)
def test_what_is_no_service_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_service(text)
    assert caught.value.path == "dport"


@pytest.mark.parametrize("text", ["3/icmp", "Redirect/icmp", "PacketTooBig/icmpv6", "135/icmpv6"])
def test_what_no_rule_is_asked_about_is_refused_too(text: str) -> None:
    with pytest.raises(InvalidInput, match="no rule is asked about ICMP") as caught:
        parse_service(text)
    assert caught.value.path == "dport" and "ask about that one" in caught.value.hint


@pytest.mark.parametrize(
    ("source", "destination", "reason"),
    [
        ("1", "224.0.0.1", "Multicast or broadcast"),
        ("1", "255.255.255.255", "Multicast or broadcast"),
        ("role=new,network:id=n0", "239.1.2.3", "Multicast or broadcast"),
        ("1", "127.0.0.1", "Address that never leaves a host"),
        ("1", "0.1.2.3", "Address that never leaves a host"),
        ("127.0.0.1", "1", "Invalid source ip"),
        ("224.0.0.1", "1", "Invalid source ip"),
    ],
)
def test_what_is_never_carried_is_denied_with_the_reason_of_its_drop(
    node: Node, source: str, destination: str, reason: str
) -> None:
    answer = ask(node, source, destination)
    assert (answer["verdict"], answer["reason"]) == ("denied", reason)
    assert answer["networks"] == {"verdict": "denied", "reason": reason}


def test_the_host_s_own_traffic_is_not_ours_to_forbid(node: Node) -> None:
    assert ask(node, "host", "127.0.0.1")["verdict"] == "allowed"


@pytest.mark.parametrize(
    ("source", "destination", "dport", "path", "text"),
    [
        ("1", "2001:db8::9", "80", "dst", "endpoint 1 is IPv4 alone, and 2001:db8::9 IPv6 alone"),
        ("1", "world-ipv6", "80", "dst", "endpoint 1 is IPv4 alone, and world-ipv6 IPv6 alone"),
        ("2001:db8::9", "role=new,network:id=n0", "80", "dst", "2001:db8::9 is IPv6 alone"),
        ("1", "192.0.2.1", "icmpv6", "dport", "icmpv6 goes over IPv6"),
        ("host", "2001:db8::9", "icmp", "dport", "icmp goes over IPv4"),
        ("1", "2", "icmpv6", "dport", "icmpv6 goes over IPv6"),
    ],
)
def test_what_no_packet_can_be_is_no_question(
    node: Node, source: str, destination: str, dport: str, path: str, text: str
) -> None:
    with pytest.raises(InvalidInput, match=text) as caught:
        ask(node, source, destination, dport)
    assert caught.value.path == path and "is dropped: " in caught.value.hint
