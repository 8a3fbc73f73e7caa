"""What the rules say about one packet, read off the rules themselves. PURE.

Slow, obvious, and sharing nothing with the way the maps are made: what they are held against.

1. `never`: allowed.
2. A deny element that matches, in any rule that selects the subject: denied.
3. An allow element that matches: allowed.
4. Else denied if the direction denies by default, allowed if not."""

from __future__ import annotations

from collections.abc import Iterable

from model.flow import Direction
from model.labels import Labels
from policy.resolve import Enforcement
from policy.rule import Element, Rule


def allows(
    rules: Iterable[Rule],
    mode: Enforcement,
    subject: Labels,
    peer: Labels,
    direction: Direction,
    protocol: int,
    port: int,
) -> bool:
    if mode is Enforcement.NEVER:
        return True
    selecting = [rule for rule in rules if rule.subject.matches(subject)]
    for rule in selecting:
        for element in rule.denies.get(direction, ()):
            if _matches(element, peer, protocol, port):
                return False
    for rule in selecting:
        for element in rule.allows.get(direction, ()):
            if _matches(element, peer, protocol, port):
                return True
    if mode is Enforcement.ALWAYS or any(
        label.source == "reserved" and label.key == "init" for label in subject
    ):
        return False
    return not any(direction in rule.default_deny for rule in selecting)


def _matches(element: Element, peer: Labels, protocol: int, port: int) -> bool:
    if element.peers is not None and not any(selector.matches(peer) for selector in element.peers):
        return False
    return element.services is None or any(service.covers(protocol, port) for service in element.services)
