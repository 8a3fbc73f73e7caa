"""What other rules would change is what the oracle says before and after."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from identity.cidr import CidrIdentities
from model.flow import Direction
from policy.areas import Areas
from policy.differences import Change, Kind, Policies, areas_of, differences
from policy.oracle import Verdict, verdict
from policy.ports import Place
from policy.repository import Repository
from policy.resolve import Enforcement, resolve
from policy.rule import Rule
from policy.schema import load_rules
from policy.selections import Selections
from tests.unit.policy.drawing import CONTAINERS, EDGES, RESERVED, Document, documents

SERVICES = [(6, port) for port in EDGES] + [(17, 53), (17, 80), (132, 80), (1, 8), (1, 0), (58, 128)]

some_rules = st.lists(documents(), max_size=3).map(tuple)


def repository(rules: Sequence[Document], audited: Sequence[Document] = ()) -> Repository:
    return Repository().add(load_rules(list(rules))).set_named("tried", load_rules(list(audited)), audit=True)


def policies(rules: Repository) -> Policies:
    return {number: resolve(rules, labels) for number, labels in CONTAINERS.items()}


def changes(old: Repository, new: Repository) -> tuple[list[Change], Areas, Selections]:
    wanted = {
        prefix
        for rule in (*old.rules(), *new.rules())
        for selector in rule.cidr_selectors()
        for prefix in selector.prefixes()
    }
    _, added, _ = CidrIdentities().with_prefixes(wanted)
    before, after = policies(old), policies(new)
    selections = Selections().with_identities({**RESERVED, **CONTAINERS, **added})
    areas = areas_of(before, after)
    found = differences(before, after, list(selections.identities), selections.select, lambda *_: True, areas)
    return [change for pair in found for change in pair], areas, selections


@settings(max_examples=30, deadline=None)
@given(some_rules, some_rules, st.one_of(st.just(()), some_rules), st.one_of(st.just(()), some_rules))
def test_it_is_what_the_rules_say(
    before: tuple[Document, ...],
    after: tuple[Document, ...],
    tried_before: tuple[Document, ...],
    tried_after: tuple[Document, ...],
) -> None:
    old, new = repository(before, tried_before), repository(after, tried_after)
    found, areas, selections = changes(old, new)
    identities = selections.identities

    def said(rules: tuple[Rule, ...], sender: int, receiver: int, service: tuple[int, int]) -> Verdict:
        """Of both ends."""
        ends = ((sender, receiver, Direction.EGRESS), (receiver, sender, Direction.INGRESS))
        verdicts = [
            verdict(rules, Enforcement.DEFAULT, identities[one], identities[other], direction, *service)
            for one, other, direction in ends
            if one in CONTAINERS
        ]
        if not all(one.passes for one in verdicts):
            return Verdict.DENIED
        return Verdict.ALLOWED if set(verdicts) == {Verdict.ALLOWED} else Verdict.AUDITED

    told: dict[tuple[int, int, Kind], int] = {}
    for change in found:
        ends = (change.subject, change.peer)
        sender, receiver = ends if change.direction is Direction.EGRESS else ends[::-1]
        key = (sender, receiver, change.kind)
        assert not told.get(key, 0) & change.areas, "told once"
        told[key] = told.get(key, 0) | change.areas
    for sender in identities:
        for receiver in identities:
            if sender not in CONTAINERS and receiver not in CONTAINERS:
                continue
            for service in SERVICES[(sender + receiver) % 3 :: 3]:
                place: Place = (Direction.EGRESS, *service, 16)
                was, will = (said(each.rules(), sender, receiver, service) for each in (old, new))
                where = areas.of(place)
                newly = {kind for kind in Kind if told.get((sender, receiver, kind), 0) & where}
                assert (Kind.DENIED in newly) == (was.passes and not will.passes)
                assert (Kind.ALLOWED in newly) == (will.passes and not was.passes)
                assert (Kind.AUDITED in newly) == (will is Verdict.AUDITED and was is not Verdict.AUDITED)


def test_the_same_rules_change_nothing() -> None:
    rules = [{"endpointSelector": {}, "ingress": [{"fromEntities": ["host"]}]}]
    assert changes(repository(rules), repository(rules))[0] == []
    assert changes(repository([], rules), repository([], rules))[0] == []


def test_the_end_whose_rules_make_the_difference_is_named() -> None:
    web = {"endpointSelector": {"matchLabels": {"container:app": "web"}}}
    rules = [{**web, "ingress": [{"fromEntities": ["none"]}]}]
    nothing, closed = repository([]), repository(rules)
    found, areas, _ = changes(nothing, closed)
    assert {change.direction for change in found} == {Direction.INGRESS}
    assert {change.subject for change in found} == {
        number for number, labels in CONTAINERS.items() if "container:app=web" in labels.texts()
    }
    assert all(change.kind is Kind.DENIED and change.areas == areas.all for change in found)
    opened, _, _ = changes(closed, nothing)
    assert {(change.kind, change.direction) for change in opened} == {(Kind.ALLOWED, Direction.INGRESS)}
    tried, _, _ = changes(nothing, repository([], rules))
    assert {(change.kind, change.direction) for change in tried} == {(Kind.AUDITED, Direction.INGRESS)}
    assert {change.areas for change in tried} == {areas.all}
