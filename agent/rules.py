"""The rules: taken in over REST, kept in the store, brought into force by the store's watch.

One way in: a PUT writes the store and returns; this node, like every other, acts on the watch. So what is in force is
always what is stored, and a writer who wants to know when waits for the revision."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from typing import Any

import structlog
import yaml

from agent.events import Event, PolicyResolved
from agent.loop import Loop
from agent.resolution import resolve_all
from agent.state import State
from model.errors import CiliateError, Conflict, InvalidInput, Unavailable
from model.labels import Labels
from policy.repository import Repository
from policy.rule import Rule
from policy.schema import dump_rules, load_rules
from store.policies import UNNAMED, PolicyStore

log = structlog.get_logger("policy")

_ATTEMPTS = 20


class Rules:
    """`revision` counts every change of the rules since the store was made: it is the store's own index, so it
    only grows, and survives a restart."""

    def __init__(self, loop: Loop[State, Event], store: PolicyStore) -> None:
        self._loop = loop
        self._store = store
        self._realized = threading.Condition()
        self._revision = 0
        self.error = ""
        """Why the newest rules are not in force; empty when they are."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="policy", daemon=True)

    def start(self, revision: int) -> None:
        """`revision`: what is in force already."""
        self._revision = revision
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    @property
    def revision(self) -> int:
        return self._revision

    def show(self, labels: Sequence[str], revision: int, wait: float) -> dict[str, Any]:
        self._wait(revision, wait)
        rules = self._loop.state.repository.rules()
        if labels:
            rules = self._loop.state.repository.with_labels(_labels(labels))
        return {"policy": dump_rules(rules), "revision": self._revision}

    def put(
        self, body: bytes, mimetype: str, *, replace: Sequence[str], wait: float, dry_run: bool
    ) -> dict[str, Any]:
        rules = load_rules(parse(body, mimetype))
        doomed = _labels(replace) if replace else None

        def change(repository: Repository) -> Repository:
            return repository.add(rules) if doomed is None else repository.replace_with_labels(doomed, rules)

        if dry_run:
            change(self._loop.state.repository)
            return {"policy": dump_rules(rules), "revision": self._revision}
        revision, _ = self._change(change)
        self._wait(revision, wait)
        return {"policy": dump_rules(rules), "revision": revision}

    def delete(self, labels: Sequence[str], wait: float) -> dict[str, Any]:
        doomed = _labels(labels)
        before = 0

        def change(repository: Repository) -> Repository:
            nonlocal before
            before = len(repository.rules())
            return repository.delete(doomed)

        revision, after = self._change(change)
        self._wait(revision, wait)
        return {"revision": revision, "deleted": before - after}

    def _change(self, change: Any) -> tuple[int, int]:
        """Read, change, compare and set: a writer that another overtook tries again. Returns the revision and how
        many rules there are now."""
        for _ in range(_ATTEMPTS):
            stored = self._store.get(UNNAMED)
            rules = load_rules(list(stored.rules)) if stored else ()
            changed = change(Repository().add(rules))
            try:
                revision = self._store.put(
                    UNNAMED, dump_rules(changed.rules()), index=stored.index if stored else 0
                )
            except Conflict:
                continue
            return revision, len(changed.rules())
        raise Unavailable("others keep changing the rules", hint="try again")

    def _wait(self, revision: int, seconds: float) -> None:
        if not seconds:
            return
        deadline = time.monotonic() + seconds
        with self._realized:
            while self._revision < revision:
                left = deadline - time.monotonic()
                if left <= 0 or self.error:
                    raise Unavailable(
                        self.error or f"revision {revision} is stored, but not in force after {seconds:g} s",
                        hint="it comes into force as soon as this node gets to it; see `ciliate status`",
                    )
                self._realized.wait(left)

    def _follow(self) -> None:
        watch = self._store.watch(self._revision)
        while not self._stop.is_set():
            try:
                change = watch.next(timeout=1.0)
                if change is None:
                    continue
                self.error = ""
                self.apply(change.index)
            except CiliateError as error:
                log.error("the newest rules are not in force", error=str(error))
                self.error = str(error)
            with self._realized:
                self._realized.notify_all()

    def apply(self, revision: int) -> None:
        """Bring what is stored into force. The rules in force stay so until all is in place."""
        repository = stored_rules(self._store)
        self._loop.call(PolicyResolved(resolve_all(self._loop.state, repository)), timeout=60.0)
        with self._realized:
            self._revision = revision


def stored_rules(store: PolicyStore) -> Repository:
    """All sets, as one repository."""
    repository = Repository()
    for name, stored in sorted(store.all().items()):
        rules: tuple[Rule, ...] = load_rules(list(stored.rules))
        repository = repository.add(rules) if name == UNNAMED else repository.set_named(name, rules)
    return repository


def _labels(texts: Sequence[str]) -> Labels:
    return Labels.parse(texts)


def parse(body: bytes, mimetype: str) -> Any:
    """JSON or YAML to Python. A key that stands twice is an error: the second would silently win."""
    if not body.strip():
        raise InvalidInput("the body is empty", hint="send a list of rules, as JSON or YAML")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"the body is not UTF-8: {error.reason} at byte {error.start}") from error
    try:
        if "yaml" in mimetype or text.lstrip()[:1] not in "[{":
            return yaml.load(text, _UniqueKeys)
        return json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise InvalidInput(
            f"line {error.lineno}, column {error.colno}: {error.msg}", hint="not JSON"
        ) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise InvalidInput(f"{where}{getattr(error, 'problem', None) or error}", hint="not YAML") from error
    except RecursionError as error:
        raise InvalidInput("the body is nested too deeply") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        twice = next(key for key, _ in pairs if [name for name, _ in pairs].count(key) > 1)
        raise InvalidInput(f"{twice!r} stands twice in one object", hint="keep one of them")
    return members


class _UniqueKeys(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        return _unique(
            [(self.construct_object(key), None) for key, _ in node.value]
        ) and super().construct_mapping(node, deep)
