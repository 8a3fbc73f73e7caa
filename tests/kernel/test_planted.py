"""Would the proof notice? Six mistakes of engines like this, made on purpose: in a copy of the programs' source, in
how rules are read, in entries on their way to the kernel, and in those that should have gone."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, find, settings

from agent.operations import EditPolicies, Operation, ReplacePolicies
from datapath.compile import SOURCES
from policy.mapstate import MapState
from policy.rule import Rule
from policy.schema import load_rules
from tests.kernel.proving import Proof, Story, World, prove, proving_ground, stories
from tests.unit.policy.drawing import Document

SOURCE_MISTAKES = {
    "deny order": (
        "policy.h",
        "	if (peer)\n		*says |= peer->says;\n",
        "	if (peer) {\n		*says = peer->says;\n		return 0;\n	}\n",
    ),
    "silent audit": (
        "judge.h",
        "		return audit(packet, if_audited_were(says));\n",
        "		return 0;\n",
    ),
    "reply direction": (
        "conntrack.h",
        "	return &packet->ends[packet->is_reply & 1];\n",
        "	return &packet->ends[SOURCE];\n",
    ),
}
"""What is asked about the peer decides, and a deny for anybody is never seen; audited sets report nothing; an answer
counts as its sender's call."""


@pytest.fixture
def spoilt(world: World) -> Iterator[World]:
    yield world
    world.make_no_mistake()


@pytest.mark.parametrize("mistake", SOURCE_MISTAKES)
def test_a_mistake_in_the_programs_is_found(world: World, mistake: str, tmp_path: Path) -> None:
    name, right, wrong = SOURCE_MISTAKES[mistake]
    sources = Path(shutil.copytree(SOURCES, tmp_path / "sources"))
    text = (sources / name).read_text()
    assert text.count(right) == 1
    (sources / name).write_text(text.replace(right, wrong))
    with proving_ground(tmp_path, sources) as spoilt:
        story = first_that_fails(spoilt)
    prove(world, story, Proof())


def test_an_exception_of_a_prefix_that_is_not_read_is_found(spoilt: World) -> None:
    def read(documents: Sequence[Document]) -> tuple[Rule, ...]:
        misread = deepcopy(list(documents))
        for rule in misread:
            for name in ("ingress", "ingressDeny", "egress", "egressDeny"):
                for element in rule.get(name) or ():
                    for cidr_set in (element.get("fromCIDRSet") or []) + (element.get("toCIDRSet") or []):
                        cidr_set.pop("except", None)
        given = load_rules(list(documents))
        return tuple(
            replace(rule, document=right.document)
            for rule, right in zip(load_rules(misread), given, strict=True)
        )

    spoilt.read = read
    found(spoilt)


def test_a_range_that_ends_early_is_found(spoilt: World) -> None:
    def end_early(entries: MapState) -> MapState:
        """Of ports that share a prefix, the upper half is lost."""
        return {
            replace(key, port_bits=key.port_bits + 1) if 0 < key.port_bits < 16 else key: entry
            for key, entry in entries.items()
        }

    spoilt.spoil = of_entries(end_early)
    found(spoilt)


def test_entries_that_outlive_what_they_were_for_are_found(spoilt: World) -> None:
    def forget_to_delete(operations: Sequence[Operation]) -> list[Operation]:
        return [
            replace(operation, deletes=()) if isinstance(operation, EditPolicies) else operation
            for operation in operations
            if not (isinstance(operation, ReplacePolicies) and not any(operation.policies.values()))
        ]

    spoilt.spoil = forget_to_delete
    found(spoilt)


def of_entries(change: Callable[[MapState], MapState]) -> Callable[[Sequence[Operation]], list[Operation]]:
    def spoil(operations: Sequence[Operation]) -> list[Operation]:
        return [_changed(operation, change) for operation in operations]

    return spoil


def _changed(operation: Operation, change: Callable[[MapState], MapState]) -> Operation:
    match operation:
        case ReplacePolicies(policies):
            return ReplacePolicies({slot: change(entries) for slot, entries in policies.items()})
        case EditPolicies(slots, upserts, deletes):
            return EditPolicies(slots, change(upserts), deletes)
    return operation


def found(spoilt: World) -> None:
    """A mistake gives itself away, and what does so is judged rightly without it."""
    story = first_that_fails(spoilt)
    spoilt.make_no_mistake()
    prove(spoilt, story, Proof())


def first_that_fails(world: World) -> Story:
    """The same search each time, or luck would decide how long it takes. Raises where it finds nothing."""
    return find(
        stories,
        lambda story: not holds(world, story),
        random=Random(3),
        settings=settings(
            max_examples=500,
            phases=[Phase.generate],
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def holds(world: World, story: Story) -> bool:
    try:
        prove(world, story, Proof())
    except AssertionError:
        return False
    return True
