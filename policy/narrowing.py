"""What makes a peer selector of a subject's rules narrower than it was written. PURE.

Each `fromRequires` (or `toRequires`) of a rule that selects the subject is added to every peer selector by labels in
the same direction: those of allowing elements to allowing ones, those of denying elements to denying ones. Entities,
prefixes and elements without peers stay as they are. So it was in Cilium up to 1.18.

A selector that demands a label which Compose gave, and names no network, selects within the subject's network: two
projects of one name on one host have nothing to do with each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from model.flow import Direction
from model.labels import Labels
from policy.rule import Rule
from policy.selector import LabelSelector, Operator, Requirement, Selector

Required = Mapping[tuple[Direction, bool], tuple[Requirement, ...]]
"""By direction, and whether it is about denying elements."""


def required(rules: Iterable[Rule]) -> Required:
    """`rules`: those that select the subject."""
    found: dict[tuple[Direction, bool], set[Requirement]] = {}
    for rule in rules:
        for denies, lists in ((False, rule.allows), (True, rule.denies)):
            for direction, elements in lists.items():
                for element in elements:
                    if element.requires:
                        found.setdefault((direction, denies), set()).update(element.requires)
    return {place: tuple(sorted(requirements)) for place, requirements in found.items()}


def network_of(rules: Iterable[Rule], subject: Labels) -> str | None:
    """The subject's network; None if it makes no difference to these rules, or if the subject, having no labels, does
    not say."""
    label = subject.get("network", "id") if any(rule.is_local for rule in rules) else None
    return None if label is None else label.value


def narrowed(peer: Selector, requirements: tuple[Requirement, ...], network: str | None) -> Selector:
    if not isinstance(peer, LabelSelector):
        return peer
    if requirements:
        peer = LabelSelector(peer.requirements + requirements)
    if network is not None and peer.is_local:
        own = Requirement("network", "id", Operator.IN, (network,))
        peer = LabelSelector((*peer.requirements, own))
    return peer
