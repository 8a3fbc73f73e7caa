"""Which packets are asked about."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from random import Random

from agent.verify_answers import Answers
from agent.verify_facts import Facts
from agent.verify_probes import Choice
from agent.verify_report import Probe
from model.network import IPAddress
from tests.unit.agent.verified import FACTS, container, with_containers, with_rules

RULE = {
    "endpointSelector": {},
    "egress": [
        {
            "toCIDRSet": [{"cidr": "198.51.100.0/24", "except": ["198.51.100.64/26"]}],
            "toPorts": [{"ports": [{"port": "8000", "endPort": 8010, "protocol": "TCP"}]}],
        }
    ],
    "ingress": [{"icmps": [{"fields": [{"type": 42}]}]}],
}


def choice(facts: Facts, seed: int = 0) -> Choice:
    answers = Answers(facts)

    def documents_of(identity: int) -> list[str]:
        return [rule.document for rule in answers.rules_of(identity)]

    return Choice(facts, answers.parties, documents_of, Random(seed))


def probes(facts: Facts, limit: int = 0, packets: int = 1, seed: int = 0) -> list[Probe]:
    return list(chain.from_iterable(choice(facts, seed).probes(limit, packets)))


def ends(probe: Probe) -> tuple[object, ...]:
    return probe.source, probe.destination, probe.version, probe.published


def test_without_a_limit_every_pair_is_asked_about_once_and_nobody_about_himself() -> None:
    asked = Counter(map(ends, probes(FACTS)))
    assert set(asked.values()) == {1}
    assert len(asked) == choice(FACTS).pairs
    both = [probe for probe in asked if isinstance(probe[0], int) and isinstance(probe[1], int)]
    # Three have IPv4, two of them IPv6; directly and through published ports.
    assert len(both) == 2 * (3 * 2 + 2 * 1)
    assert all(source != destination for source, destination, *_ in both)


def test_with_a_limit_no_kind_of_pair_is_forgotten() -> None:
    many = with_containers([container(n, 256, 2, f"10.200.1.{n}", f"fd00::{n:x}") for n in range(2, 202)])
    asked = probes(many, limit=400)
    assert len(asked) == 400
    kinds = Counter(
        (isinstance(probe.source, int), isinstance(probe.destination, int), probe.version, probe.published)
        for probe in asked
    )
    assert len(kinds) == 8
    assert min(kinds.values()) >= 40


def test_the_same_seed_asks_about_the_same() -> None:
    assert probes(FACTS, 20, 3, seed=5) == probes(FACTS, 20, 3, seed=5) != probes(FACTS, 20, 3, seed=6)


def test_the_edges_of_what_rules_name_are_asked_about() -> None:
    asked = probes(with_rules(RULE), packets=60)
    ports = {probe.port for probe in asked if probe.protocol == 6}
    assert {0, 65535, 7999, 8000, 8001, 8009, 8010, 8011} <= ports
    assert {41, 42, 43} <= {probe.port for probe in asked if probe.protocol == 1}
    addresses = {str(probe.destination) for probe in asked if not isinstance(probe.destination, int)}
    edges = {"198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0"}
    holes = {"198.51.100.63", "198.51.100.64", "198.51.100.127", "198.51.100.128"}
    assert edges | holes <= addresses


def test_who_cannot_send_is_never_the_source() -> None:
    sources = {probe.source for probe in probes(FACTS) if isinstance(probe.source, IPAddress)}
    assert sources
    assert not any(str(source).startswith("10.200.1.") and str(source) != "10.200.1.1" for source in sources)


def test_errors_and_messages_of_the_link_are_not_judged_by_policy_and_not_asked_about() -> None:
    asked = probes(with_rules({**RULE, "ingress": [{"icmps": [{"fields": [{"type": 4}]}]}]}), packets=60)
    assert not {3, 4, 5} & {probe.port for probe in asked if probe.protocol == 1}


def test_a_name_of_a_port_is_no_number() -> None:
    rule = {"endpointSelector": {}, "egress": [{"toPorts": [{"ports": [{"port": "443"}]}]}]}
    facts = with_rules(rule)
    named = Choice(facts, Answers(facts).parties, lambda _: ['{"port": "https"}'], Random(0))
    assert len(list(named.probes(5, 1))) == 5
