"""What must become of a packet."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from agent.verify_answers import Answers
from agent.verify_facts import Facts
from agent.verify_report import End, Probe
from datapath.abi import EndpointFlag
from datapath.frames import UDP
from datapath.ruling import PASSES, Ruling
from datapath.tables import NodeEntry, Routing
from model.flow import Direction, DropReason
from model.labels import Labels
from policy.resolve import Enforcement
from tests.unit.agent.verified import DB, FACTS, WEB, with_containers, with_rules


def answer(facts: Facts, source: End, destination: End, port: int = 80, **options: Any) -> Ruling:
    """Both say the same here."""
    answers = Answers(facts)
    meeting = answers.parties.meet(Probe(source, destination, 4, 6, port, **options))
    assert meeting
    rules = answers.by_the_rules(meeting, 6, port)
    assert answers.by_the_twin(meeting, 6, port) == rules
    return rules


NEAR, APART, NODE = map(ip_address, ("10.200.9.2", "10.200.9.3", "192.0.2.9"))
WORLD, HOST, UNMANAGED = map(ip_address, ("198.51.100.1", "192.0.2.1", "172.17.0.2"))


def test_without_rules_everybody_of_a_network_may_talk() -> None:
    assert answer(FACTS, 1, 2) == answer(FACTS, 1, WORLD) == answer(FACTS, HOST, 1) == PASSES


def test_networks_are_separate_but_for_published_ports() -> None:
    assert answer(FACTS, 1, 3) == Ruling(DropReason.NETWORKS_SEPARATE, Direction.EGRESS)
    assert answer(FACTS, 1, 3, published=True) == PASSES


def test_another_nodes_containers_are_as_near_as_their_networks() -> None:
    assert answer(FACTS, 1, NEAR) == answer(FACTS, NEAR, 1) == PASSES
    assert answer(FACTS, 1, APART) == Ruling(DropReason.NETWORKS_SEPARATE, Direction.EGRESS)
    assert answer(FACTS, APART, 1) == PASSES, "by a published port, out of the tunnel"
    native = replace(FACTS, node=NodeEntry(Routing.NATIVE))
    assert answer(native, 1, NEAR) == answer(native, NEAR, 1) == PASSES
    assert answer(native, APART, 1) == Ruling(DropReason.NETWORKS_SEPARATE, Direction.INGRESS)
    alone = replace(FACTS, node=NodeEntry())
    assert answer(alone, 1, NEAR) == Ruling(DropReason.NO_TUNNEL, Direction.EGRESS)


def test_who_has_no_labels_yet_stays_on_this_node() -> None:
    init = with_containers([replace(WEB, identity=5), DB])
    init = replace(init, modes={**init.modes, 5: Enforcement.NEVER})
    assert answer(init, 1, 2) == PASSES
    assert answer(init, 1, NEAR) == Ruling(DropReason.INIT_STAYS, Direction.EGRESS)
    assert answer(init, 1, NODE) == Ruling(DropReason.INIT_STAYS, Direction.EGRESS)


def test_no_container_sends_to_the_tunnels_port() -> None:
    forbidden = Ruling(DropReason.ENCAP_PROHIBITED, Direction.EGRESS)
    answers = Answers(FACTS)
    for peer, expected in ((HOST, forbidden), (NODE, forbidden), (WORLD, PASSES), (NEAR, PASSES)):
        meeting = answers.parties.meet(Probe(1, peer, 4, UDP, 8472))
        assert meeting
        assert answers.by_the_rules(meeting, UDP, 8472) == answers.by_the_twin(meeting, UDP, 8472) == expected
        assert answers.by_the_rules(meeting, UDP, 8473) == PASSES


def test_nobody_reaches_an_address_of_ours_that_is_nobodys() -> None:
    nobody = ip_address("10.200.1.99")
    assert answer(FACTS, 1, nobody) == Ruling(DropReason.UNKNOWN_DESTINATION, Direction.EGRESS)


@pytest.mark.parametrize(
    ("flag", "peer", "reason"),
    [
        (EndpointFlag.NO_HOST, HOST, DropReason.HOST_FORBIDDEN),
        (EndpointFlag.NO_WORLD, WORLD, DropReason.WORLD_FORBIDDEN),
        (EndpointFlag.NO_WORLD, UNMANAGED, DropReason.WORLD_FORBIDDEN),
        (EndpointFlag.NO_CONTAINERS, 2, DropReason.CONTAINERS_FORBIDDEN),
    ],
)
def test_what_a_network_forbids(flag: EndpointFlag, peer: End, reason: DropReason) -> None:
    facts = with_containers([replace(WEB, flags=flag), DB])
    assert answer(facts, 1, peer) == Ruling(reason, Direction.EGRESS)
    here = Direction.EGRESS if isinstance(peer, int) else Direction.INGRESS
    assert answer(facts, peer, 1) == Ruling(reason, here)


def test_both_ends_are_asked_the_sender_first() -> None:
    only_web = {
        "endpointSelector": {"matchLabels": {"app": "db"}},
        "ingress": [
            {
                "fromEndpoints": [{"matchLabels": {"app": "web"}}],
                "toPorts": [{"ports": [{"port": "80", "protocol": "TCP"}]}],
            }
        ],
    }
    facts = with_rules(only_web)
    assert answer(facts, 1, 2, 80) == PASSES
    assert answer(facts, 1, 2, 81) == Ruling(DropReason.POLICY_DENIED, Direction.INGRESS)
    assert answer(facts, WORLD, 2) == Ruling(DropReason.POLICY_DENIED, Direction.INGRESS)
    silent = {"endpointSelector": {"matchLabels": {"app": "web"}}, "egressDeny": [{"toEntities": ["all"]}]}
    assert answer(with_rules(only_web, silent), 1, 2, 81) == Ruling(
        DropReason.POLICY_DENY_RULE, Direction.EGRESS
    )


def test_what_an_end_in_audit_mode_denies_is_noted_and_passes_if_the_other_lets_it() -> None:
    silent = {"endpointSelector": {}, "egress": [{}], "ingress": [{}]}
    denied = DropReason.POLICY_DENIED
    one, both = (
        [replace(WEB, flags=EndpointFlag.AUDIT), DB],
        [replace(each, flags=EndpointFlag.AUDIT) for each in (WEB, DB)],
    )
    assert answer(with_rules(silent, facts=with_containers(one)), 1, 2) == Ruling(denied, Direction.INGRESS)
    assert answer(with_rules(silent, facts=with_containers(both)), 1, 2) == Ruling(
        denied, Direction.EGRESS, audited=True
    )
    assert Ruling(denied, Direction.EGRESS, audited=True).passes


def test_what_an_audited_rule_denies_is_noted_and_passes_if_the_rules_in_force_let_it() -> None:
    db = {"endpointSelector": {"matchLabels": {"app": "db"}}}
    silent, denied = {"endpointSelector": {}, "egress": [{}], "ingress": [{}]}, DropReason.POLICY_DENIED
    assert answer(with_rules(audited=[silent]), 1, 2) == Ruling(denied, Direction.EGRESS, audited=True)
    closed = with_rules({**db, "ingress": [{}]}, audited=[silent])
    assert answer(closed, 1, 2) == Ruling(denied, Direction.INGRESS)
    deny = {**db, "ingressDeny": [{"fromEntities": ["all"]}]}
    opened = with_rules({**db, "ingress": [{"fromEntities": ["all"]}]}, audited=[deny])
    assert answer(opened, 1, 2) == Ruling(DropReason.POLICY_DENY_RULE, Direction.INGRESS, audited=True)


def test_prefixes_are_about_the_world_and_end_where_they_end() -> None:
    rule = {
        "endpointSelector": {"matchLabels": {"app": "web"}},
        "egress": [{"toCIDRSet": [{"cidr": "0.0.0.0/0", "except": ["198.51.100.0/24"]}]}],
    }
    facts = with_rules(rule)
    assert answer(facts, 1, ip_address("198.51.99.255")) == PASSES
    assert answer(facts, 1, WORLD) == Ruling(DropReason.POLICY_DENIED, Direction.EGRESS)
    assert answer(facts, 1, 2) == answer(facts, 1, UNMANAGED) == answer(facts, 1, WORLD)


def test_labels_of_another_process_are_the_same_labels() -> None:
    import pickle

    labels = pickle.loads(pickle.dumps(FACTS)).labels[256]
    assert {labels: 1}[Labels.parse(["container:app=web"])] == 1
