"""From resolved rules to map entries, all at once and little by little."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from identity.cidr import CidrIdentities
from model.flow import Direction
from model.labels import Labels
from policy.mapstate import (
    ALLOW,
    DENY,
    PolicyEntry,
    PolicyFlag,
    PolicyKey,
    identity_delta,
    map_state,
    map_states,
)
from policy.repository import Repository
from policy.resolve import Enforcement, resolve, resolve_each
from policy.schema import load_rules
from policy.selections import Selections
from tests.unit.policy.drawing import CONTAINERS, RESERVED, Case, Document, cases

IN, OUT = Direction.INGRESS, Direction.EGRESS

WEB, CLIENT, OTHER = 300, 301, 302
IDENTITIES = {
    WEB: Labels.parse(["container:app=web"]),
    CLIENT: Labels.parse(["container:app=client"]),
    OTHER: Labels.parse(["container:app=other"]),
}
FROM_CLIENT = {"fromEndpoints": [{"matchLabels": {"app": "client"}}]}


def at(*ports: str, protocol: str = "TCP") -> Document:
    return {"toPorts": [{"ports": [{"port": port, "protocol": protocol} for port in ports]}]}


def web(*rules: Document, mode: Enforcement = Enforcement.DEFAULT) -> Mapping[PolicyKey, PolicyEntry]:
    """The map of web under these rules."""
    listed = [{"endpointSelector": {"matchLabels": {"app": "web"}}, **rule} for rule in rules]
    policy = resolve(Repository().add(load_rules(listed)), IDENTITIES[WEB], mode=mode)
    return map_state(policy, Selections().with_identities(IDENTITIES).select)


OPEN = {PolicyKey(OUT): ALLOW}


def test_without_rules_all_is_allowed() -> None:
    assert web() == {PolicyKey(IN): ALLOW, PolicyKey(OUT): ALLOW}


def test_always_denies_without_rules() -> None:
    assert web(mode=Enforcement.ALWAYS) == {}


def test_never_ignores_rules() -> None:
    assert web({"ingressDeny": [{"fromEntities": ["all"]}]}, mode=Enforcement.NEVER) == web()


def test_a_peer_at_a_port() -> None:
    assert web({"ingress": [FROM_CLIENT | at("80")]}) == OPEN | {PolicyKey(IN, CLIENT, 6, 80, 16): ALLOW}


def test_a_peer_at_every_port() -> None:
    assert web({"ingress": [FROM_CLIENT]}) == OPEN | {PolicyKey(IN, CLIENT): ALLOW}


def test_anybody_at_a_port() -> None:
    assert web({"ingress": [at("80")]}) == OPEN | {PolicyKey(IN, 0, 6, 80, 16): ALLOW}


def test_any_protocol_at_a_port_means_those_that_have_ports() -> None:
    assert web({"ingress": [at("53", protocol="ANY")]}) == OPEN | {
        PolicyKey(IN, 0, protocol, 53, 16): ALLOW for protocol in (6, 17, 132)
    }


def test_port_0_is_every_port() -> None:
    """Of a protocol, or of those that have ports: ICMP is not among them."""
    assert web({"ingress": [at("0")]}) == OPEN | {PolicyKey(IN, 0, 6): ALLOW}
    assert web({"ingress": [at("0", protocol="ANY")]}) == OPEN | {
        PolicyKey(IN, 0, protocol): ALLOW for protocol in (6, 17, 132)
    }


def test_a_range_is_a_few_prefixes() -> None:
    ports = [{"port": "1024", "endPort": 3071, "protocol": "UDP"}]
    assert web({"ingress": [{"toPorts": [{"ports": ports}]}]}) == OPEN | {
        PolicyKey(IN, 0, 17, 1024, 6): ALLOW,
        PolicyKey(IN, 0, 17, 2048, 6): ALLOW,
    }


def test_an_icmp_type_stands_where_a_port_would() -> None:
    fields = [{"type": 8}, {"type": "EchoRequest", "family": "IPv6"}]
    assert web({"ingress": [{"icmps": [{"fields": fields}]}]}) == OPEN | {
        PolicyKey(IN, 0, 1, 8, 16): ALLOW,
        PolicyKey(IN, 0, 58, 128, 16): ALLOW,
    }


def test_a_broad_deny_reaches_into_a_narrow_allow() -> None:
    rule = {"ingress": [FROM_CLIENT | at("80")], "ingressDeny": [FROM_CLIENT]}
    assert web(rule) == OPEN | {PolicyKey(IN, CLIENT): DENY}


def test_a_narrow_deny_leaves_the_rest_of_a_broad_allow() -> None:
    rule = {"ingress": [FROM_CLIENT], "ingressDeny": [FROM_CLIENT | at("80")]}
    assert web(rule) == OPEN | {PolicyKey(IN, CLIENT): ALLOW, PolicyKey(IN, CLIENT, 6, 80, 16): DENY}


def test_what_is_denied_to_all_is_denied_to_whom_it_is_allowed() -> None:
    rule = {"ingress": [FROM_CLIENT | at("80")], "ingressDeny": [at("80")]}
    assert web(rule) == OPEN | {PolicyKey(IN, 0, 6, 80, 16): DENY}


def test_what_all_may_do_is_not_said_of_each() -> None:
    rule = {"ingress": [{"fromEndpoints": [{}]}, FROM_CLIENT | at("80")]}
    assert web(rule) == OPEN | {PolicyKey(IN): ALLOW}


def test_a_deny_without_default_deny_leaves_the_rest_open() -> None:
    rule = {"ingressDeny": [FROM_CLIENT], "enableDefaultDeny": {"ingress": False}}
    assert web(rule) == OPEN | {PolicyKey(IN): ALLOW, PolicyKey(IN, CLIENT): DENY}


def tried(*audited: Document, rules: Sequence[Document] = ()) -> Mapping[PolicyKey, PolicyEntry]:
    """The map of web where a set is audited."""
    for_web = {"endpointSelector": {"matchLabels": {"app": "web"}}}
    in_force, others = (load_rules([for_web | rule for rule in listed]) for listed in (rules, audited))
    repository = Repository().add(in_force).set_named("tried", others, audit=True)
    policy = resolve(repository, IDENTITIES[WEB])
    return map_state(policy, Selections().with_identities(IDENTITIES).select)


def says(flag: PolicyFlag) -> PolicyEntry:
    return PolicyEntry(flag)


def test_an_audited_set_leaves_open_what_only_it_would_close() -> None:
    assert tried({"ingress": [FROM_CLIENT | at("80")]}) == OPEN | {
        PolicyKey(IN): says(PolicyFlag.ALLOW),
        PolicyKey(IN, CLIENT, 6, 80, 16): says(PolicyFlag.WOULD_ALLOW),
    }


def test_an_audited_deny_is_said_within_what_is_allowed() -> None:
    entries = tried({"ingressDeny": [FROM_CLIENT | at("80")]}, rules=[{"ingress": [FROM_CLIENT]}])
    assert entries == OPEN | {
        PolicyKey(IN, CLIENT): ALLOW,
        PolicyKey(IN, CLIENT, 6, 80, 16): says(PolicyFlag.ALLOW | PolicyFlag.WOULD_DENY),
    }


def test_an_audited_deny_reaches_into_every_narrower_allow() -> None:
    entries = tried({"ingressDeny": [FROM_CLIENT]}, rules=[{"ingress": [FROM_CLIENT | at("80")]}])
    assert entries == OPEN | {
        PolicyKey(IN, CLIENT): says(PolicyFlag.WOULD_DENY),
        PolicyKey(IN, CLIENT, 6, 80, 16): says(PolicyFlag.ALLOW | PolicyFlag.WOULD_DENY),
    }


def test_an_audited_set_that_says_nothing_new_costs_no_entry() -> None:
    rule = {"ingress": [FROM_CLIENT | at("80")]}
    assert tried(rule, rules=[rule]) == web(rule)


def test_subjects_under_the_same_rules_share_one_map() -> None:
    rules = load_rules(
        [{"endpointSelector": {}, "egress": [{"toEntities": ["world"]}]},
         {"endpointSelector": {"matchLabels": {"app": "web"}}, "ingress": [FROM_CLIENT]}]
    )  # fmt: skip
    policies = resolve_each(
        Repository().add(rules),
        {number: (labels, Enforcement.DEFAULT) for number, labels in IDENTITIES.items()},
    )
    maps = map_states(policies, Selections().with_identities(IDENTITIES).select)
    assert maps[CLIENT] is maps[OTHER]
    assert maps[WEB] != maps[OTHER]


numbers = st.sampled_from(sorted(CONTAINERS))
comings = st.lists(st.tuples(st.booleans(), numbers), max_size=8)


@settings(max_examples=100, deadline=None)
@given(cases, comings)
def test_little_by_little_leads_where_all_at_once_does(
    case: Case, happenings: list[tuple[bool, int]]
) -> None:
    """An identity that comes brings its entries; one that goes takes all that name it; nothing else changes."""
    repository = case.repository()
    prefixes = {
        one for rule in repository.rules() for peer in rule.cidr_selectors() for one in peer.prefixes()
    }
    _, cidrs, _ = CidrIdentities().with_prefixes(prefixes)
    policy = resolve(repository, CONTAINERS[256], mode=case.mode)
    selections = Selections().with_identities(RESERVED | cidrs).keeping(policy.selectors)
    state = map_state(policy, selections.select)
    for comes, number in happenings:
        if comes:
            labels = CONTAINERS[number]
            selections = selections.with_identities({number: labels})
            state |= identity_delta(policy, number, selections.matching(labels))
        else:
            selections = selections.without_identities([number])
            state = {key: entry for key, entry in state.items() if key.identity != number}
        assert state == map_state(policy, selections.select)
