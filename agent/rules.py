"""The rules: taken in over REST, kept in the store, brought into force by the store's watch.

One way in: a PUT writes the store and returns; this node, like every other, acts on the watch. So what is in force is
always what is stored, and a writer who wants to know when waits for the revision. Where what is stored cannot be
realized, the rules before it stay in force; a copy of them is kept by the node, because a start needs rules too."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from agent.documents import parse
from agent.events import Event, PolicyResolved
from agent.loop import Loop
from agent.resolution import Resolution, resolve_all
from agent.room import Room
from agent.state import State
from agent.stored_rules import Found, Reading, keep_rules
from agent.views import audit_warnings
from identity.cidr import CidrIdentities
from model.errors import CiliateError, Conflict, InvalidInput, NotFound, Unavailable
from model.labels import Labels
from policy.repository import Repository
from policy.resolve import Enforcement
from policy.rule import Rule
from policy.schema import dump_rules, load_rules
from store.keys import name as key_part
from store.policies import UNNAMED, PolicyStore, PolicyWatch, RuleSet

log = structlog.get_logger("policy")

_ATTEMPTS = 20
_TICK_SECONDS = 1.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 30.0
"""Seconds until what failed is tried again."""

_LONGEST_AWAY = 2.0
"""The same while the store does not answer: asking costs little, and soon after it is back all nodes agree."""

_REALIZE_SECONDS = 60.0

Change = Callable[[Repository], Repository]

_Content = tuple[tuple[Mapping[str, Any], ...], bool]
"""Of a set: its rules, and whether it is audited."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What was worked out for rules just before they were stored. Good while `cidrs` are the prefixes known, and rules
    are enforced as they were."""

    sets: Mapping[str, _Content]
    cidrs: CidrIdentities
    resolution: Resolution

    def is_for(self, sets: Mapping[str, RuleSet], state: State) -> bool:
        return (
            self.cidrs is state.cidrs
            and self.resolution.enforcement is state.enforcement
            and self.sets == {name: (found.rules, found.audit) for name, found in sets.items()}
        )


class Rules:
    """`revision` is the store's own index of the newest change that is in force: it only grows, and survives a
    restart. `last`: where the node keeps what is in force; `watch` tells of what is stored. `give_way` is called
    every now and then while rules are worked on."""

    def __init__(
        self,
        loop: Loop[State, Event],
        store: PolicyStore,
        last: PolicyStore,
        watch: PolicyWatch,
        room: Room | None = None,
        give_way: Callable[[], None] = lambda: None,
    ) -> None:
        self._loop = loop
        self._store = store
        self._last = last
        self._watch = watch
        self._room = room or Room()
        self._give_way = give_way
        self._writing = threading.Lock()
        self._applying = threading.Lock()
        self._prepared: _Prepared | None = None
        self._reading = Reading()
        self._kept: Repository | None = None
        self._unkept: Repository | None = None
        self._realized = threading.Condition()
        self._revision = 0
        self._failed = 0
        self._failure: Exception | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="policy", daemon=True)

    def start(self, found: Found) -> None:
        """`found` is in force."""
        self._revision = found.revision
        if found.problem:
            self._failed, self._failure = found.revision, Unavailable(found.problem)
        self._thread.start()

    def stop(self) -> None:
        """Who waits is told so."""
        self._stopping.set()
        self._watch.close()
        with self._realized:
            self._realized.notify_all()

    @property
    def revision(self) -> int:
        return self._revision

    @property
    def problem(self) -> str:
        """Why the newest rules are not in force; empty when they are."""
        failure = self._failure
        return f"the newest rules are not in force: {failure}" if failure is not None else ""

    def show(self, labels: Sequence[str], revision: int, wait: float) -> dict[str, Any]:
        """The rules in force; with labels, those that carry all of them."""
        self._wait(revision, wait)
        shown, repository = self._revision, self._loop.state.repository
        rules = repository.with_labels(Labels.parse(labels)) if labels else repository.rules()
        return {**_shown(rules), "revision": shown}

    def show_named(self, name: str) -> dict[str, Any]:
        shown, repository = self._revision, self._loop.state.repository
        if name not in repository.named:
            raise NotFound(f"no rules named {name!r} are in force", path="name", hint=_names(repository))
        return {
            **_shown(repository.named[name]),
            "audit": name in repository.audited,
            "revision": shown,
        }

    def sets(self) -> list[dict[str, Any]]:
        """The named sets that are stored."""
        return [
            {
                "name": name,
                "rules": len(found.rules),
                "audit": found.audit,
                "origin": found.origin,
                "revision": found.index,
            }
            for name, found in sorted(self._store.all().items())
            if name != UNNAMED
        ]

    def trace(self, source: str, destination: str, dport: str, *, full: bool) -> dict[str, Any]:
        """What the rules in force say about one packet."""
        from agent.tracing import trace_view  # rarely wanted

        shown = self._revision
        return {**trace_view(self._loop.state, source, destination, dport, full=full), "revision": shown}

    def check(
        self,
        body: bytes,
        mimetype: str,
        *,
        replace: Sequence[str],
        name: str,
        limit: int,
        audit: bool = False,
    ) -> dict[str, Any]:
        """What a `put` of these, or with a name a `put_named`, would change for the rules in force. Raises Exhausted
        where they would be refused for want of room."""
        from agent.draft import draft_view  # rarely wanted

        if audit and not name:
            raise InvalidInput(
                "only a named set of rules can be audited", path="audit", hint="say the name it would have"
            )
        rules, doomed = load_rules(parse(body, mimetype), self._give_way), Labels.parse(replace)
        shown, state = self._revision, self._loop.state
        if name:
            _check_name(name)
            draft = state.repository.set_named(name, rules, audit=audit)
        elif replace:
            draft = state.repository.replace_with_labels(doomed, rules)
        else:
            draft = state.repository.add(rules)
        resolution = resolve_all(state, draft, self._give_way)
        self._room.check(state, resolution)
        return {
            **draft_view(state, resolution, limit, self._give_way),
            "warnings": [*audit_warnings(state), *_unreached(rules, state)],
            "revision": shown,
        }

    def put(
        self, body: bytes, mimetype: str, *, replace: Sequence[str], wait: float, dry_run: bool
    ) -> dict[str, Any]:
        """Adds rules; `replace`: in place of those that carry all of these labels."""
        rules = load_rules(parse(body, mimetype), self._give_way)
        doomed = Labels.parse(replace) if replace else None

        def change(repository: Repository) -> Repository:
            return repository.add(rules) if doomed is None else repository.replace_with_labels(doomed, rules)

        return self._put(UNNAMED, rules, change, wait=wait, dry_run=dry_run)

    def put_named(
        self,
        name: str,
        body: bytes,
        mimetype: str,
        *,
        wait: float,
        dry_run: bool,
        origin: str = "",
        audit: bool = False,
    ) -> dict[str, Any]:
        """Replaces the set of this name as a whole. `origin`: who keeps it from now on; a set that another keeps is
        refused to it (Conflict). `audit`: it only reports."""
        _check_name(name)
        rules = load_rules(parse(body, mimetype), self._give_way)
        known = self._store.all().get(name)
        result = "created"
        if known is not None:
            is_same = (list(known.rules), known.origin, known.audit) == (dump_rules(rules), origin, audit)
            result = "unchanged" if is_same else "changed"
        answer = self._put(
            name,
            rules,
            lambda repository: repository.set_named(name, rules, audit=audit),
            wait=wait,
            dry_run=dry_run,
            origin=origin,
        )
        return {**answer, "result": result, "origin": origin, "audit": audit}

    def delete(self, labels: Sequence[str], wait: float) -> dict[str, Any]:
        """Those without a name that carry all of these labels; without labels, all without a name."""
        doomed = Labels.parse(labels)
        revision, before, after = self._change(UNNAMED, lambda repository: repository.delete(doomed))
        self._wait(revision, wait)
        return {"revision": revision, "deleted": len(before.unnamed) - len(after.unnamed)}

    def delete_named(self, name: str, wait: float) -> dict[str, Any]:
        """No error if there is none: to be repeated at will."""
        _check_name(name)
        revision, before, _ = self._change(name, lambda repository: repository.delete_named(name))
        self._wait(revision, wait)
        return {"revision": revision, "deleted": len(before.named.get(name, ()))}

    def fits(self, repository: Repository) -> None:
        """Raises Exhausted if the kernel has no room for these."""
        state = self._loop.state
        self._room.check(state, resolve_all(state, repository, self._give_way))

    def enforce(self, enforcement: Enforcement) -> None:
        """How the rules in force are enforced from now on. Raises Exhausted if they do not fit then."""
        with self._applying:
            state = self._loop.state
            if enforcement is state.enforcement:
                return
            resolution = resolve_all(state, state.repository, self._give_way, enforcement=enforcement)
            self._room.check(state, resolution)
            self._loop.call(PolicyResolved(resolution), timeout=_REALIZE_SECONDS)

    def _put(
        self,
        name: str,
        rules: tuple[Rule, ...],
        change: Change,
        *,
        wait: float,
        dry_run: bool,
        origin: str = "",
    ) -> dict[str, Any]:
        if dry_run:
            state = self._loop.state
            sets = self._store.all()
            _check_origin(sets, name, origin)
            before = self._reading.of(sets)
            after = change(before)
            if after != before:
                self._room.check(state, resolve_all(state, after, self._give_way))
            revision = self._revision
        else:
            revision, _, _ = self._change(name, change, origin)
            self._wait(revision, wait)
        warnings = _unreached(rules, self._loop.state)
        return {"policy": dump_rules(rules), "warnings": warnings, "revision": revision}

    def _change(self, name: str, change: Change, origin: str = "") -> tuple[int, Repository, Repository]:
        """Read, change, compare and set: a writer that another overtook tries again. Returns the revision and the
        rules before and after. Raises Exhausted for rules that do not fit into the kernel, and stores nothing."""
        with self._writing:
            for _ in range(_ATTEMPTS):
                sets = self._store.all()
                _check_origin(sets, name, origin)
                index = sets[name].index if name in sets else 0
                before = self._reading.closed(sets)
                after = change(before)
                if after == before and (name not in sets or sets[name].origin == origin):
                    return index or self._revision, before, after
                rules = after.unnamed if name == UNNAMED else after.named.get(name)
                documents = None if rules is None else tuple(dump_rules(rules))
                audit = name in after.audited
                self._prepare(sets, name, after, None if documents is None else (documents, audit))
                try:
                    if documents is not None:
                        written = self._store.put(name, documents, index=index, origin=origin, audit=audit)
                        return written, before, after
                    return self._store.delete(name, index=index or None), before, after
                except Conflict:
                    continue
        raise Unavailable("others keep changing the rules", hint="try again")

    def _prepare(
        self,
        sets: Mapping[str, RuleSet],
        name: str,
        repository: Repository,
        content: _Content | None,
    ) -> None:
        state = self._loop.state
        resolution = resolve_all(state, repository, self._give_way)
        self._room.check(state, resolution)
        after = {other: (found.rules, found.audit) for other, found in sets.items() if other != name}
        if content is not None:
            after[name] = content
        self._prepared = _Prepared(after, state.cidrs, resolution)

    def _wait(self, revision: int, seconds: float) -> None:
        if not seconds:
            return
        deadline = time.monotonic() + seconds
        with self._realized:
            while self._revision < revision:
                if self._failure is not None and self._failed >= revision:
                    raise _not_in_force(self._failure)
                left = deadline - time.monotonic()
                if self._stopping.is_set():
                    raise Unavailable(f"revision {revision} is stored; the agent is stopping")
                if left <= 0:
                    raise Unavailable(
                        f"revision {revision} is not in force after {seconds:g} s",
                        hint="if it exists, it comes into force as soon as this node gets to it; "
                        "see `ciliate status`",
                    )
                self._realized.wait(left)

    def _follow(self) -> None:
        """Survives everything: what fails is tried again, and what was in force stays so."""
        wanted, pause = self._revision, _FIRST_PAUSE
        if self._failure is None:
            pause = 0.0
            self._keep()
        while not self._stopping.is_set():
            try:
                change = self._watch.next(timeout=pause or _TICK_SECONDS)
                if change is not None:
                    wanted = max(wanted, change.index)
                elif not pause or self._stopping.is_set():
                    self._keep()
                    continue
                self._apply(wanted)
                pause = 0.0
            except Exception as error:
                longest = _LONGEST_AWAY if isinstance(error, Unavailable) else _LONGEST_PAUSE
                pause = min(max(_FIRST_PAUSE, 2 * pause), longest)
                self._fail(wanted, error)
                self._keep()
                self._stopping.wait(_FIRST_PAUSE)
        self._keep()

    def _apply(self, wanted: int) -> None:
        """Bring what is stored into force. The rules in force stay so until all is in place."""
        with self._applying:
            sets = self._store.all()
            revision = max([wanted, *(found.index for found in sets.values())])
            prepared, state = self._prepared, self._loop.state
            if prepared is not None and prepared.is_for(sets, state):
                resolution = prepared.resolution
                self._reading.learn(sets, resolution.repository)
            else:
                resolution = resolve_all(state, self._reading.of(sets), self._give_way)
            self._loop.call(PolicyResolved(resolution), timeout=_REALIZE_SECONDS)
            self._prepared = None
        with self._realized:
            self._revision, self._failure = max(self._revision, revision), None
            self._realized.notify_all()

    def _keep(self) -> None:
        """A moment after they came into force, or before they go: who waits for them has the processor first."""
        repository = self._loop.state.repository
        if repository is self._kept:
            return
        try:
            keep_rules(repository, self._last)
            self._kept, self._unkept = repository, None
        except Exception as error:
            if repository is not self._unkept:
                log.warning("no copy of the rules in force is kept", error=str(error))
            self._unkept = repository

    def _fail(self, revision: int, error: Exception) -> None:
        with self._realized:
            is_news = str(self._failure) != str(error)
            self._failed, self._failure = revision, error
            self._realized.notify_all()
        if not is_news or self._stopping.is_set():
            return
        if isinstance(error, CiliateError):
            log.error("the newest rules are not in force", error=str(error))
        else:
            log.exception("the newest rules are not in force")


def _unreached(rules: Sequence[Rule], state: State) -> list[dict[str, Any]]:
    if not any(element.peers for rule in rules for denied in rule.denies.values() for element in denied):
        return []
    from agent.unreached import unreached  # rarely wanted

    return unreached(rules, state.host.unmanaged)


def _not_in_force(failure: Exception) -> CiliateError:
    kind = type(failure) if isinstance(failure, CiliateError) else Unavailable
    return kind(
        f"the rules are stored, but not in force: {getattr(failure, 'message', failure)}",
        hint="the rules before them stay in force; "
        + (getattr(failure, "hint", "") or "see `ciliate status` and the agent's log"),
    )


def _shown(rules: Sequence[Rule]) -> dict[str, Any]:
    audited = [place for place, rule in enumerate(rules) if rule.is_audited]
    return {"policy": dump_rules(rules), "audited": audited}


def _check_name(name: str) -> None:
    key_part(name, "name")
    if name == UNNAMED:
        raise InvalidInput(
            f"{UNNAMED!r} is where rules without a name are kept", path="name", hint="use /v1/policy"
        )


def _check_origin(sets: Mapping[str, RuleSet], name: str, origin: str) -> None:
    """What one keeps, another must not replace by mistake; by hand, without an origin, it may be."""
    if origin and name in sets and sets[name].origin not in ("", origin):
        raise Conflict(
            f"the set {name!r} is kept by {sets[name].origin!r}",
            path="name",
            hint="give this one another name, or say that origin",
        )


def _names(repository: Repository) -> str:
    known = ", ".join(sorted(repository.named))
    return f"there are {known}" if known else "there are no named rules"
