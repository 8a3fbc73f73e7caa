"""Rules survive as a document, and move from the embedded store to another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.backups import Backups
from model.errors import Conflict, Exhausted, InvalidInput, NotFound
from policy.repository import Repository
from store.keys import Keys
from store.memory import MemoryStore
from store.policies import UNNAMED, PolicyStore
from store.sqlite import SqliteStore

KEYS = Keys("c")


def rule(app: str) -> dict[str, Any]:
    return {"endpointSelector": {"matchLabels": {"app": app}}, "ingress": [{}]}


def fits(repository: Repository) -> None:
    if len(repository.named) > 3:
        raise Exhausted("no room")


class Site:
    """A store with rules, and its backups."""

    def __init__(self, folder: Path) -> None:
        self.policies = PolicyStore(MemoryStore(), KEYS)
        self.backups = Backups(self.policies, KEYS, folder / "cluster.db", fits)

    def stored(self) -> dict[str, Any]:
        return {name: (found.rules, found.origin, found.audit) for name, found in self.policies.all().items()}


def test_what_was_backed_up_is_restored_elsewhere_and_again(tmp_path: Path) -> None:
    one, other = Site(tmp_path), Site(tmp_path)
    one.policies.put(UNNAMED, [rule("a")])
    one.policies.put("web", [rule("b"), rule("c")], origin="git", audit=True)
    document = one.backups.backup()
    assert (document["version"], document["cluster"]) == (1, "c")

    other.policies.put("own", [rule("x")])
    assert other.backups.restore(document, replace=False) == {"stored": [UNNAMED, "web"], "unchanged": 0}
    assert other.stored() == {**one.stored(), "own": ((rule("x"),), "", False)}
    assert other.backups.restore(document, replace=False) == {"stored": [], "unchanged": 2}


def test_other_rules_of_the_same_name_stay_unless_they_are_to_be_replaced(tmp_path: Path) -> None:
    one, other = Site(tmp_path), Site(tmp_path)
    one.policies.put("new", [rule("a")])
    one.policies.put("web", [rule("a")])
    other.policies.put("web", [rule("b")])
    document = one.backups.backup()
    with pytest.raises(Conflict, match="under 'web'"):
        other.backups.restore(document, replace=False)
    assert list(other.stored()) == ["web"], "nothing is half done"
    other.backups.restore(document, replace=True)
    assert other.stored() == one.stored()


def test_what_is_no_rule_or_has_no_room_is_refused_as_a_whole(tmp_path: Path) -> None:
    site = Site(tmp_path)
    sets = [{"name": f"s{number}", "rules": [rule("a")], "origin": "", "audit": False} for number in range(4)]
    with pytest.raises(Exhausted):
        site.backups.restore({"policies": sets}, replace=False)
    sets[1]["rules"] = [{"ingres": []}]
    with pytest.raises(InvalidInput):
        site.backups.restore({"policies": sets[:2]}, replace=False)
    with pytest.raises(InvalidInput, match="is no name"):
        site.backups.restore({"policies": [{**sets[0], "name": "a/b"}]}, replace=False)
    assert site.stored() == {}


def test_the_embedded_stores_rules_move_along(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with pytest.raises(NotFound, match="no embedded store"):
        site.backups.migrate(replace=False)
    embedded = SqliteStore(tmp_path / "cluster.db")
    PolicyStore(embedded, KEYS).put("web", [rule("a")], origin="git")
    embedded.close()
    assert site.backups.migrate(replace=False)["stored"] == ["web"]
    assert site.stored() == {"web": ((rule("a"),), "git", False)}
