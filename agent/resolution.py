"""PURE. What a whole new set of rules means for a snapshot of the state. The expensive half of a policy change,
done outside the writer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from agent.state import State, mode_of
from identity.cidr import CidrIdentities
from model.labels import Labels
from model.network import IPNetwork
from policy.mapstate import MapState, map_states
from policy.repository import Repository
from policy.resolve import Enforcement, SubjectPolicy, resolve_each
from policy.selections import Selections


@dataclass(frozen=True, slots=True)
class Resolution:
    """`seen`: the identities of the snapshot. `selections`: with the added prefixes' identities, and still with the
    removed ones, so that no address is without a verdict before it has lost its identity. `maps` and `policies`
    by local identity."""

    repository: Repository
    enforcement: Enforcement
    cidrs: CidrIdentities
    removed: Mapping[int, IPNetwork]
    seen: Mapping[int, Labels]
    selections: Selections
    policies: Mapping[int, SubjectPolicy]
    maps: Mapping[int, MapState]


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
    subjects = {
        number: (subject.labels, mode_of(enforcement, always=subject.always))
        for number, subject in state.subjects.items()
    }
    policies = resolve_each(repository, subjects, pause)
    distinct = {id(policy): policy for policy in policies.values()}
    selectors = {selector for policy in distinct.values() for selector in policy.selectors}
    selections = state.selections.with_identities(added).only(selectors)
    return Resolution(
        repository=repository,
        enforcement=enforcement,
        cidrs=cidrs,
        removed=removed,
        seen=state.selections.identities,
        selections=selections,
        policies=policies,
        maps=map_states(policies, selections.select, pause),
    )
