"""PURE. Identities that come or go, and the policies that select them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agent.operations import EditPolicies, Operation
from agent.state import State, Subject
from model.labels import Labels
from policy.mapstate import PolicyEntry, PolicyKey, identity_delta
from policy.resolve import SubjectPolicy
from policy.selector import Selector


def introduce(state: State, identities: Mapping[int, Labels]) -> list[Operation]:
    """Tell the policies that select any of these that they came: one edit for each policy."""
    return [EditPolicies(slots, entries) for slots, entries in _deltas(state, identities)]


def dismiss(state: State, identities: Mapping[int, Labels]) -> list[Operation]:
    """Tell them that these are gone."""
    return [EditPolicies(slots, {}, tuple(entries)) for slots, entries in _deltas(state, identities)]


def by_policy(subjects: Iterable[Subject]) -> list[tuple[SubjectPolicy, tuple[int, ...]]]:
    """Each policy with the slots of those who have it: what happens to one of them happens to all."""
    found: dict[int, tuple[SubjectPolicy, list[int]]] = {}
    for subject in subjects:
        found.setdefault(id(subject.policy), (subject.policy, []))[1].append(subject.slot)
    return [(policy, tuple(slots)) for policy, slots in found.values()]


def _deltas(
    state: State, identities: Mapping[int, Labels]
) -> list[tuple[tuple[int, ...], dict[PolicyKey, PolicyEntry]]]:
    selecting: dict[int, set[Selector]] = {}
    for number, labels in identities.items():
        if matching := state.selections.matching(labels):
            selecting[number] = set(matching)
    found = []
    for policy, slots in by_policy(state.subjects.values()) if selecting else ():
        entries: dict[PolicyKey, PolicyEntry] = {}
        for number, selectors in selecting.items():
            entries.update(identity_delta(policy, number, selectors))
        if entries:
            found.append((slots, entries))
    return found
