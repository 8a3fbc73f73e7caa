"""The page about flows says what is served."""

from __future__ import annotations

from collections.abc import Callable

from observe.filters import PARAMETERS
from observe.flow import Flow, to_json
from observe.reference import TARGET, reference


def test_the_committed_page_is_current() -> None:
    assert TARGET.read_text() == reference(), (
        "run `python -m observe.reference` and commit docs/reference/flows.md"
    )


def test_every_filter_and_every_field_is_explained(flow: Callable[..., Flow]) -> None:
    for name in [*PARAMETERS, *to_json(flow())]:
        assert f"`{name}`" in reference()
