"""What other rules would change is what the oracle says before and after."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from identity.cidr import CidrIdentities
from model.flow import Direction
from policy.areas import Areas
from policy.differences import Change, Policies, areas_of, differences
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


def policies(rules: tuple[Rule, ...]) -> Policies:
    repository = Repository().add(rules)
    return {number: resolve(repository, labels) for number, labels in CONTAINERS.items()}


def changes(old: tuple[Rule, ...], new: tuple[Rule, ...]) -> tuple[list[Change], Areas, Selections]:
    wanted = {
        prefix
        for rule in (*old, *new)
        for selector in rule.cidr_selectors()
        for prefix in selector.prefixes()
    }
    _, added, _ = CidrIdentities().with_prefixes(wanted)
    before, after = policies(old), policies(new)
    selections = Selections().with_identities({**RESERVED, **CONTAINERS, **added})
    areas = areas_of(before, after)
    found = differences(before, after, list(selections.identities), selections.select, lambda *_: True, areas)
    return [change for pair in found for change in pair], areas, selections


@settings(max_examples=25, deadline=None)
@given(some_rules, some_rules)
def test_it_is_what_the_rules_say(before: tuple[Document, ...], after: tuple[Document, ...]) -> None:
    old, new = load_rules(list(before)), load_rules(list(after))
    found, areas, selections = changes(old, new)
    identities = selections.identities

    def passes(rules: tuple[Rule, ...], sender: int, receiver: int, service: tuple[int, int]) -> bool:
        ends = ((sender, receiver, Direction.EGRESS), (receiver, sender, Direction.INGRESS))
        return all(
            verdict(rules, Enforcement.DEFAULT, identities[one], identities[other], direction, *service)
            is Verdict.ALLOWED
            for one, other, direction in ends
            if one in CONTAINERS
        )

    told: dict[tuple[int, int, bool], int] = {}
    for change in found:
        ends = (change.subject, change.peer)
        sender, receiver = ends if change.direction is Direction.EGRESS else ends[::-1]
        key = (sender, receiver, change.denied)
        assert not told.get(key, 0) & change.areas, "told once"
        told[key] = told.get(key, 0) | change.areas
    for sender in identities:
        for receiver in identities:
            if sender not in CONTAINERS and receiver not in CONTAINERS:
                continue
            for service in SERVICES[(sender + receiver) % 3 :: 3]:
                place: Place = (Direction.EGRESS, *service, 16)
                was, will = passes(old, sender, receiver, service), passes(new, sender, receiver, service)
                where = areas.of(place)
                assert bool(told.get((sender, receiver, True), 0) & where) == (was and not will)
                assert bool(told.get((sender, receiver, False), 0) & where) == (will and not was)


def test_the_same_rules_change_nothing() -> None:
    rules = load_rules([{"endpointSelector": {}, "ingress": [{"fromEntities": ["host"]}]}])
    assert changes(rules, rules)[0] == []


def test_the_end_whose_rules_make_the_difference_is_named() -> None:
    web = {"endpointSelector": {"matchLabels": {"container:app": "web"}}}
    closed = load_rules([{**web, "ingress": [{"fromEntities": ["none"]}]}])
    found, areas, _ = changes((), closed)
    assert {change.direction for change in found} == {Direction.INGRESS}
    assert {change.subject for change in found} == {
        number for number, labels in CONTAINERS.items() if "container:app=web" in labels.texts()
    }
    assert all(change.denied and change.areas == areas.all for change in found)
    opened, _, _ = changes(closed, ())
    assert {(change.denied, change.direction) for change in opened} == {(False, Direction.INGRESS)}
