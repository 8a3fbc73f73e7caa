"""PURE. What a draft of rules would change on this node, told before it is stored. Shapes are those of
agent/schema.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from agent.parties import end_of
from agent.resolution import Resolution
from agent.state import State
from agent.views import View, identity
from model.flow import Direction
from model.identity import Reserved
from policy.areas import Areas
from policy.differences import Change, Kind, areas_of, differences
from policy.separation import separation

NAMED = 10
"""Identities that are named of many."""

_ABSENT = {Reserved.WORLD, Reserved.HEALTH, Reserved.INIT}
"""No packet comes from these: the world is known by family, and the others are not here yet; or, as from init, none
passes, unless an endpoint has it and so has rules. Of other nodes, none where there are none."""


def draft_view(
    state: State, resolution: Resolution, limit: int, pause: Callable[[], None] = lambda: None
) -> View:
    """`resolution`: of the rules as they would be, for this state. `limit`: of each list."""
    before = {number: subject.policy for number, subject in state.subjects.items()}
    after = resolution.policies
    wanted = {selector for policy in before.values() for selector in policy.selectors}
    selections = resolution.selections.keeping(wanted)
    known = selections.identities
    ends = {number: end_of(state, number, labels) for number, labels in known.items()}
    absent = _ABSENT if state.nodes else {*_ABSENT, Reserved.REMOTE_NODE}
    areas = areas_of(before, after)
    changes = differences(
        before,
        after,
        [number for number in known if number not in absent or number in before],
        selections.select,
        lambda sender, receiver: not separation(ends[sender], ends[receiver]),
        areas,
        pause,
    )
    rows, pairs = _rows(changes)
    enforced = list(_enforced(state, resolution))

    def shown(number: int) -> View:
        return identity(number, known[number])

    return {
        "rules": {"before": len(state.repository.rules()), "after": len(resolution.repository.rules())},
        "enforcement": enforced[:limit],
        "enforcement_total": len(enforced),
        "changes": [_row(row, areas, shown) for row in rows[:limit]],
        "changes_total": len(rows),
        **{f"pairs_{kind}": pairs[kind] for kind in Kind},
    }


def _enforced(state: State, resolution: Resolution) -> Iterable[View]:
    """Endpoints for which a direction denies by default from now on, or no more."""
    for endpoint in sorted(state.endpoints.values(), key=lambda endpoint: endpoint.id):
        subject = state.subjects.get(endpoint.identity)
        if subject is None or not endpoint.ifindex:
            continue
        now = resolution.policies[endpoint.identity].enforced
        for direction in Direction:
            if (direction in now) != (direction in subject.policy.enforced):
                yield {
                    "endpoint": endpoint.id,
                    "name": endpoint.container_name,
                    "direction": direction.name.lower(),
                    "enforced": direction in now,
                }


_ORDER = {kind: place for place, kind in enumerate(Kind)}

Row = tuple[Change, list[int], list[int]]
"""One of the changes, and all subjects and peers for which it is the same."""


def _rows(changes: Iterable[list[Change]]) -> tuple[list[Row], dict[Kind, int]]:
    """In the order of Kind, then what many are affected by. And how many ordered pairs are."""
    by_subject: dict[tuple[Kind, Direction, int, int], tuple[Change, list[int]]] = {}
    pairs = dict.fromkeys(Kind, 0)
    for found in changes:
        for kind in {change.kind for change in found}:
            pairs[kind] += 1
        for change in found:
            key = (change.kind, change.direction, change.areas, change.subject)
            by_subject.setdefault(key, (change, []))[1].append(change.peer)
    alike: dict[tuple[Kind, Direction, int, tuple[int, ...]], Row] = {}
    for (kind, direction, where, subject), (change, peers) in by_subject.items():
        peers.sort()
        row = alike.setdefault((kind, direction, where, tuple(peers)), (change, [], peers))
        row[1].append(subject)
    rows = sorted(
        alike.values(), key=lambda row: (_ORDER[row[0].kind], -len(row[1]) * len(row[2]), sorted(row[1]))
    )
    return rows, pairs


def _row(row: Row, areas: Areas, shown: Callable[[int], View]) -> View:
    change, subjects, peers = row
    members: dict[str, Any] = {}
    for name, numbers in (("subjects", subjects), ("peers", peers)):
        members[name] = [shown(number) for number in sorted(numbers)[:NAMED]]
        members[f"{name}_total"] = len(numbers)
    return {
        "change": change.kind,
        "direction": change.direction.name.lower(),
        "services": areas.text(change.areas),
        **members,
    }
