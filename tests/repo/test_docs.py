"""What the pages say is there, and what is there is in the pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agent.documents import parse
from model.flow import DropReason
from policy.schema import load_rules

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_every_reason_of_a_drop_is_explained_and_no_other() -> None:
    page = (ROOT / "docs/guide/troubleshooting.md").read_text()
    table = page[page.index("| reason |") : page.index("## It cannot be reached")]
    explained = set(re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE)) - {"reason", "---"}
    assert explained == {
        reason.text for reason in DropReason if reason not in (DropReason.NONE, DropReason.AUDITED)
    }


RULES = re.findall(
    r"^```yaml\n(.*?)^```", (ROOT / "docs/guide/policy.md").read_text(), re.MULTILINE | re.DOTALL
)


@pytest.mark.parametrize("text", RULES, ids=range(len(RULES)))
def test_every_rule_in_the_guide_is_taken(text: str) -> None:
    assert load_rules(parse(text.encode(), "application/yaml"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_each_decision_has_a_number_of_its_own() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("0*.md"))
    numbers = [page.name.split("-")[0] for page in pages]
    assert numbers == [f"{number:04}" for number in range(1, len(pages) + 1)]
    for number, page in zip(numbers, pages, strict=True):
        assert page.read_text().startswith(f"# {number}: ")
