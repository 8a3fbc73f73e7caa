"""The rules themselves and the maps made of them come to the same verdicts."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, given, settings

from policy.schema import load_rules
from tests.unit.policy.drawing import Case, by_the_rules, cases, disagreement, node_of, outcome

EXAMPLES = int(os.environ.get("POLICY_EXAMPLES", "150"))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases)
def test_rules_and_maps_agree(case: Case) -> None:
    packet = disagreement(case)
    if packet is not None:
        said = by_the_rules(load_rules(list(case.rules)), case, packet)
        judged = outcome(node_of(case).judge(packet))
        raise AssertionError(f"{packet}\nthe rules: {said}\nthe map: {judged}")
