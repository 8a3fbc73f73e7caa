"""The rules themselves and the maps made of them come to the same verdicts."""

from __future__ import annotations

import os
from dataclasses import replace

from hypothesis import HealthCheck, given, settings

from tests.unit.policy.drawing import (
    Case,
    by_the_rules,
    cases,
    disagreement,
    node_of,
    outcome,
    packets_of,
)

EXAMPLES = int(os.environ.get("POLICY_EXAMPLES", "150"))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases)
def test_rules_and_maps_agree(case: Case) -> None:
    packet = disagreement(case)
    if packet is not None:
        said = by_the_rules(case.repository().rules(), case, packet)
        judged = outcome(node_of(case).judge(packet))
        raise AssertionError(f"{packet}\nthe rules: {said}\nthe map: {judged}")


@settings(max_examples=EXAMPLES // 3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases.filter(lambda case: case.audited))
def test_a_set_that_is_no_longer_audited_drops_what_it_reported_and_nothing_else(case: Case) -> None:
    audited = node_of(case)
    without = node_of(replace(case, audited=()))
    in_force = node_of(replace(case, rules=case.rules + case.audited, audited=()))
    for packet in packets_of(case):
        now, before, after = (judge.judge(packet) for judge in (audited, without, in_force))
        assert now.allowed == before.allowed, "it changes no verdict"
        assert now.audited == (before.allowed and not after.allowed)
        if now.audited:
            assert now.deny_rule == after.deny_rule
