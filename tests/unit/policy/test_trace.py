"""A trace says what the rules say, what the map says, and why."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings

from model.flow import Direction
from model.labels import Labels
from policy.mapstate import PolicyKey
from policy.oracle import Verdict
from policy.repository import Repository
from policy.resolve import Enforcement
from policy.schema import load_rules
from policy.trace import Packet, Side, trace
from tests.unit.policy.drawing import Case, by_the_rules, cases, labels_of, node_of, outcome, packets_of

WEB = Labels.parse(["container:role=web"])
CLIENT = Labels.parse(["container:role=client", "container:tier=front"])
PEER = 300

AT_80 = Packet(Direction.INGRESS, 6, 80)


@settings(max_examples=60, deadline=None)
@given(cases)
def test_it_agrees_with_the_oracle_and_with_the_map(case: Case) -> None:
    repository, node = case.repository(), node_of(case)
    rules = repository.rules()
    for packet in packets_of(case, 60):
        side = trace(
            repository,
            case.mode,
            labels_of(packet.subject),
            labels_of(packet.peer),
            packet.peer if isinstance(packet.peer, int) else 1 << 24,
            Packet(packet.direction, packet.protocol, packet.port),
            full=packet.port % 2 == 0,
        )
        assert side.verdict is by_the_rules(rules, case, packet) is outcome(node.judge(packet)), packet
        assert side.agrees
        assert len(side.rules) + side.others == len(rules)
        assert side.reason


def traced(
    *rules: dict[str, Any],
    packet: Packet = AT_80,
    mode: Enforcement = Enforcement.DEFAULT,
    full: bool = False,
    audited: list[dict[str, Any]] | None = None,
) -> Side:
    """From client to web. `audited`: a set of that name."""
    repository = Repository().add(load_rules(list(rules)))
    if audited is not None:
        repository = repository.set_named("tried", load_rules(audited), audit=True)
    return trace(repository, mode, WEB, CLIENT, PEER, packet, full=full)


def rule(selects: str = "web", **lists: Any) -> dict[str, Any]:
    return {"endpointSelector": {"matchLabels": {"role": selects}}, "labels": [f"name={selects}"], **lists}


def port(number: int) -> list[dict[str, Any]]:
    return [{"ports": [{"port": str(number), "protocol": "TCP"}]}]


def whys(side: Side) -> list[tuple[str, str, str]]:
    return [(one.path, one.peer_why, one.port_why) for read in side.rules for one in read.readings]


def test_without_rules_all_is_allowed_and_the_entry_for_anybody_says_so() -> None:
    side = traced(rule("other", ingress=[{}]))
    assert (side.verdict, side.reason) == (
        Verdict.ALLOWED,
        "no rule is about its ingress: all of it is allowed",
    )
    assert (side.rules, side.others, side.enforced) == ((), 1, False)
    assert side.entry.key == PolicyKey(Direction.INGRESS)


def test_what_allows_is_named_with_its_place() -> None:
    allow = {"fromEndpoints": [{"matchLabels": {"role": "client"}}], "toPorts": port(80)}
    side = traced(rule(ingress=[{"fromEntities": ["host"]}, allow]))
    assert side.reason == "rule 0 (name=web), ingress[1]: allow from role=client on 80/TCP"
    assert whys(side) == [("ingress[0]", "not host", "any port"), ("ingress[1]", "role=client", "80/TCP")]
    assert side.entry.key == PolicyKey(Direction.INGRESS, PEER, 6, 80, 16)


def test_a_deny_is_told_before_what_allows() -> None:
    side = traced(rule(ingress=[{"fromEndpoints": [{}]}], ingressDeny=[{"toPorts": port(80)}]))
    assert side.verdict is Verdict.DENIED_BY_RULE
    assert side.reason == "rule 0 (name=web), ingressDeny[0]: deny from anybody on 80/TCP"


def test_who_is_refused_learns_what_was_missing() -> None:
    wanted = {"matchLabels": {"role": "client", "tier": "back"}}
    side = traced(rule(ingress=[{"fromEndpoints": [wanted], "toPorts": port(81)}]))
    assert whys(side) == [
        ("ingress[0]", "needs tier=back, has container:tier=front", "80/TCP is not 81/TCP"),
    ]
    assert side.reason == (
        "no rule allows it, and ingress is denied by default: rule 0 (name=web) selects it"
    )
    assert side.entry.key is None


def test_why_a_direction_denies_by_default() -> None:
    assert traced(rule(ingress=[{}])).reason.endswith("by default: rule 0 (name=web) selects it")
    assert traced(mode=Enforcement.ALWAYS).reason.endswith("by default: enforcement is `always`")
    assert traced(rule(ingress=[{}]), mode=Enforcement.NEVER).reason == (
        "enforcement is `never`: rules are ignored"
    )
    several = traced(rule(ingress=[{}]), rule(ingress=[{}]), rule(ingress=[{}]))
    assert several.reason.endswith("rule 0 (name=web) and 2 more select it")
    quiet = traced(rule(ingress=[{"fromEntities": ["host"]}], enableDefaultDeny={"ingress": False}))
    assert (quiet.verdict, quiet.reason) == (
        Verdict.ALLOWED,
        "the rules that select it leave the rest of its ingress open",
    )
    nobody = trace(Repository(), Enforcement.DEFAULT, Labels.parse(["reserved:init"]), CLIENT, PEER, AT_80)
    assert nobody.reason.endswith("by default: its labels are not known yet")


def test_lists_that_match_nothing_say_so() -> None:
    side = traced(rule(ingress=[{}, {"fromEndpoints": []}, {"fromEntities": ["none"]}]))
    assert [why for _, why, _ in whys(side)] == [
        "it names nobody",
        "it names nobody",
        "none is nobody",
    ]


def test_what_another_rule_requires_is_said_where_it_decides() -> None:
    allow = rule(ingress=[{"fromEndpoints": [{"matchLabels": {"role": "client"}}]}])
    side = traced(allow, rule(ingress=[{"fromRequires": [{"matchLabels": {"tier": "back"}}]}]))
    assert whys(side) == [
        ("ingress[0]", "needs tier=back, has container:tier=front", "any port"),
        ("ingress[0]", "it names nobody", "any port"),
    ]
    assert side.rules[1].readings[0].says == "allow only from who has tier=back"
    assert side.verdict is Verdict.DENIED and side.agrees


def test_rules_about_the_other_direction_are_left_out() -> None:
    side = traced(rule(egress=[{}]), rule(ingress=[{"fromEntities": ["all"]}]))
    assert [read.number for read in side.rules] == [1]


def test_a_full_trace_tells_also_why_rules_are_about_others() -> None:
    side = traced(rule("other", ingress=[{}]), rule(ingress=[{}]), full=True)
    assert [(read.selects, read.why) for read in side.rules] == [
        (False, "needs role=other, has container:role=web"),
        (True, "role=web"),
    ]
    assert side.others == 0


def test_rules_of_a_set_are_numbered_as_they_are_listed() -> None:
    repository = (
        Repository()
        .set_named("b", load_rules(rule(ingress=[{}])))
        .set_named("a", load_rules(rule("other", ingress=[{}])))
        .add(load_rules(rule("third", ingress=[{}])))
    )
    side = trace(repository, Enforcement.DEFAULT, WEB, CLIENT, PEER, AT_80)
    assert [str(read) for read in side.rules] == ["rule 2 (set b, name=web)"]


def test_a_ping_is_told_that_port_0_is_about_ports() -> None:
    """By an element for every port, which an ICMP type is none of."""
    every = [{"ports": [{"port": "0"}]}]
    packet = Packet(Direction.INGRESS, 1, 8)
    side = traced(rule(ingress=[{"toPorts": every}]), packet=packet)
    assert whys(side) == [
        ("ingress[0]", "anybody", "ICMP 8 (EchoRequest) is not any port of TCP, UDP or SCTP")
    ]


FROM_CLIENT = {"fromEndpoints": [{"matchLabels": {"role": "client"}}]}


def test_what_only_an_audited_rule_denies_passes_and_says_which() -> None:
    side = traced(rule(ingress=[FROM_CLIENT]), audited=[rule(ingressDeny=[FROM_CLIENT])])
    assert (side.verdict, side.is_allowed, side.agrees) == (Verdict.AUDITED_BY_RULE, True, True)
    assert side.reason == "rule 1 (set tried, audited, name=web), ingressDeny[0]: deny from role=client"
    side = traced(audited=[rule(ingress=[{"fromEntities": ["host"]}])])
    assert (side.verdict, side.enforced, side.agrees) == (Verdict.AUDITED, False, True)
    assert side.reason == (
        "no rule allows it, and ingress is denied by default: rule 0 (set tried, audited, name=web) selects it"
    )
    assert whys(side) == [("ingress[0]", "not host", "any port")]


def test_what_audited_rules_allow_too_says_so() -> None:
    side = traced(audited=[rule(ingress=[FROM_CLIENT])])
    assert (side.verdict, side.reason) == (
        Verdict.ALLOWED,
        "no rule is about its ingress: all of it is allowed; it would pass with the audited rules, too",
    )


def test_an_audited_rule_gives_nothing() -> None:
    side = traced(rule(ingress=[{}]), audited=[rule(ingress=[FROM_CLIENT])])
    assert (side.verdict, side.agrees) == (Verdict.DENIED, True)
    assert side.reason.endswith("with the audited rules it would pass, but while audited they allow nothing")


def test_what_an_audited_rule_requires_is_told_where_it_would_narrow_another() -> None:
    requires = rule(ingress=[{"fromRequires": [{"matchLabels": {"tier": "back"}}]}])
    side = traced(rule(ingress=[FROM_CLIENT]), audited=[requires])
    assert (side.verdict, side.agrees) == (Verdict.AUDITED, True)
    assert whys(side)[0] == ("ingress[0]", "needs tier=back, has container:tier=front", "any port")
