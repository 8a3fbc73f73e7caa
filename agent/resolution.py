"""PURE. What a whole new set of rules means for a snapshot of the state. The expensive half of a policy change,
done outside the writer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from agent.state import State, mode_of
from identity.cidr import CidrIdentities, labels_of
from model.labels import Labels
from model.network import IPNetwork
from policy.mapstate import MapState, map_states
from policy.repository import Repository
from policy.resolve import Enforcement, SubjectPolicy, resolve_each
from policy.selections import Selections


@dataclass(frozen=True, slots=True)
class Resolution:
    """`seen`: the identities that are known when this comes into force, as far as the snapshot knows. `selections`:
    still with the identities of the removed prefixes, so that no address is without a verdict before it has lost its
    identity. `maps` and `policies` by local identity.

    `before`: what has to be in force before, the rules of the snapshot with the identities `added` for new prefixes. So
    no address changes its identity at the same time as its verdict (docs/decisions/0022)."""

    repository: Repository
    enforcement: Enforcement
    cidrs: CidrIdentities
    added: Mapping[int, Labels]
    removed: Mapping[int, IPNetwork]
    seen: Mapping[int, Labels]
    selections: Selections
    policies: Mapping[int, SubjectPolicy]
    maps: Mapping[int, MapState]
    before: Resolution | None = None


def resolve_all(
    state: State,
    repository: Repository,
    pause: Callable[[], None] = lambda: None,
    *,
    enforcement: Enforcement | None = None,
) -> Resolution:
    """`pause` is called every now and then. `enforcement`: the node's from then on; None: as it is."""
    enforcement = enforcement or state.enforcement
    prefixes = {
        prefix
        for rule in repository.rules()
        for selector in rule.cidr_selectors()
        for prefix in selector.prefixes()
    }
    cidrs, added, removed = state.cidrs.with_prefixes(prefixes)
    before = with_prefixes(state, cidrs, pause) if added else None
    known = before.selections if before else state.selections
    subjects = {
        number: (subject.labels, mode_of(enforcement, always=subject.always))
        for number, subject in state.subjects.items()
    }
    policies = resolve_each(repository, subjects, pause)
    distinct = {id(policy): policy for policy in policies.values()}
    selectors = {selector for policy in distinct.values() for selector in policy.selectors}
    selections = known.only(selectors)
    made = {id(policy): before.maps[number] for number, policy in before.policies.items()} if before else None
    return Resolution(
        repository=repository,
        enforcement=enforcement,
        cidrs=cidrs,
        added={},
        removed=removed,
        seen=known.identities,
        selections=selections,
        policies=policies,
        maps=map_states(policies, selections.select, pause, made),
        before=before,
    )


def with_prefixes(
    state: State, cidrs: CidrIdentities, pause: Callable[[], None] = lambda: None
) -> Resolution:
    """The rules that are in force, for whom these prefixes, too, have identities. It changes no packet's verdict: who
    was the next wider prefix is selected by whatever selected that."""
    added = {
        number: labels_of(prefix) for prefix, number in cidrs.items() if prefix not in state.cidrs.numbers
    }
    policies = {number: subject.policy for number, subject in state.subjects.items()}
    selections = state.selections.with_identities(added)
    return Resolution(
        repository=state.repository,
        enforcement=state.enforcement,
        cidrs=CidrIdentities(state.cidrs.numbers.update(cidrs.numbers), cidrs.following),
        added=added,
        removed={},
        seen=state.selections.identities,
        selections=selections,
        policies=policies,
        maps=map_states(policies, selections.select, pause),
    )
