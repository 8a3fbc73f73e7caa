"""The rules of a cluster as one document: to keep it, to bring it back, to move it to another store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.stored_rules import repository_of
from model.errors import Conflict, NotFound
from policy.repository import Repository
from policy.schema import load_rules
from store.keys import Keys, name
from store.policies import PolicyStore, RuleSet
from store.sqlite import SqliteStore

VERSION = 1
"""Of the document."""

_NAMED = 5
"""Sets that an error names."""

Document = dict[str, Any]


class Backups:
    """`embedded`: the file of the store that a host has alone. `fits` raises Exhausted for rules that the kernel has no
    room for."""

    def __init__(
        self, policies: PolicyStore, keys: Keys, embedded: Path, fits: Callable[[Repository], None]
    ) -> None:
        self._policies = policies
        self._keys = keys
        self._embedded = embedded
        self._fits = fits

    def backup(self) -> Document:
        """Identities, addresses and nodes are not in it: running containers make them."""
        return _document(self._keys.cluster, self._policies)

    def restore(self, document: Mapping[str, Any], *, replace: bool) -> Document:
        """Stores the sets; others stay. Raises Conflict, and stores nothing, where a set of that name is there that
        is not the same, unless `replace`. May be repeated."""
        return self._store([_rule_set(each) for each in document["policies"]], replace)

    def migrate(self, *, replace: bool) -> Document:
        """As `restore`, of what the embedded store of this host holds for this cluster."""
        if not self._embedded.exists():
            raise NotFound(f"there is no embedded store at {self._embedded}", hint="nothing is to be moved")
        store = SqliteStore(self._embedded)
        try:
            sets = list(PolicyStore(store, self._keys).all().values())
        finally:
            store.close()
        return self._store(sets, replace)

    def _store(self, sets: Sequence[RuleSet], replace: bool) -> Document:
        there = self._policies.all()
        changed = [each for each in sets if each.name not in there or not _same(each, there[each.name])]
        others = [each.name for each in changed if each.name in there and there[each.name].rules]
        if others and not replace:
            more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
            raise Conflict(
                f"other rules are stored under {', '.join(map(repr, others[:_NAMED]))}{more}",
                path="policies",
                hint="say --replace to put these in their place, or take them out",
            )
        self._fits(repository_of({**there, **{each.name: each for each in changed}}))
        for each in changed:
            index = there[each.name].index if each.name in there else 0
            self._policies.put(each.name, each.rules, index=index, origin=each.origin, audit=each.audit)
        return {"stored": [each.name for each in changed], "unchanged": len(sets) - len(changed)}


def _document(cluster: str, policies: PolicyStore) -> Document:
    sets = [
        {"name": each.name, "rules": list(each.rules), "origin": each.origin, "audit": each.audit}
        for _, each in sorted(policies.all().items())
    ]
    return {"version": VERSION, "cluster": cluster, "policies": sets}


def _rule_set(members: Mapping[str, Any]) -> RuleSet:
    """Raises InvalidInput for what is no rule."""
    load_rules(members["rules"])
    return RuleSet(
        name(members["name"], "policies.name"),
        tuple(members["rules"]),
        0,
        members["origin"],
        members["audit"],
    )


def _same(one: RuleSet, other: RuleSet) -> bool:
    return (one.rules, one.origin, one.audit) == (other.rules, other.origin, other.audit)
