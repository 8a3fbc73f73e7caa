"""The reference in docs/ is what the code says."""

from __future__ import annotations

import pytest

from agent.api import description
from agent.reference import FOLDER, PAGES, rest_reference
from agent.settings import SETTINGS


@pytest.mark.parametrize("name", PAGES)
def test_the_committed_pages_are_current(name: str) -> None:
    assert (FOLDER / name).read_text() == PAGES[name](), f"run `make docs` and commit docs/reference/{name}"


def test_every_setting_has_its_row() -> None:
    page = PAGES["settings.md"]()
    assert all(page.count(f"| `{setting.name}` |") == 1 for setting in SETTINGS)


def test_every_operation_is_explained() -> None:
    page = rest_reference()
    for path, methods in description()["paths"].items():
        for method in methods.keys() - {"parameters"}:
            assert f"### `{method.upper()} {path}`" in page
