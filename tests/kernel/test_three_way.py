"""The same verdict three times: by the rules themselves, by the Python twin of the lookup, and by the programs.

Rules are drawn at random, as JSON. The oracle (policy.oracle) reads a verdict off the rules and shares nothing with
the rest; the twin (policy.decide) asks the map that they make; the programs ask the kernel's maps, which steps of the
agent have brought from one rule set to the next while containers came and went. `make verify-long` takes more time."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, given, settings

from tests.kernel.proving import Proof, Story, World, prove, stories

STORIES = 150
"""Of two rule sets, as a rule, with 200 pairs of ends each."""


@settings(
    max_examples=STORIES,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(stories)
def test_rules_twin_and_programs_agree(world: World, story: Story) -> None:
    prove(world, story, Proof())
