"""The reference in docs/ is the command's own words."""

from __future__ import annotations

from cli.reference import TARGET, reference


def test_the_committed_reference_is_current() -> None:
    assert TARGET.read_text() == reference(), "run `python -m cli.reference` and commit docs/reference/cli.md"


def test_examples_stay_as_they_are() -> None:
    assert "```\nciliate monitor --verdict dropped --to web\n" in reference()
