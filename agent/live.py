"""Settings that may be changed while the agent runs. What was changed is kept by the node, and stronger than the
environment until it is taken back: a start must not undo it, least of all one after a crash."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agent.events import AuditSet, Event
from agent.loop import Loop
from agent.rules import Rules
from agent.settings import SETTINGS, Setting, Settings
from agent.state import State
from model.errors import InvalidInput, Unavailable
from policy.resolve import Enforcement
from store.local import LocalStore

_BY_NAME = {setting.name: setting for setting in SETTINGS}

_REALIZE_SECONDS = 60.0


def with_kept(settings: Settings, kept: Mapping[str, str]) -> Settings:
    """The settings of the environment, and in their place what was changed."""
    values: dict[str, Any] = {}
    for name, text in kept.items():
        try:
            values[name.removeprefix("CILIATE_").lower()] = _BY_NAME[name].parse(text)
        except (KeyError, ValueError) as error:
            raise Unavailable(
                f"{name} was set to {text!r} through the API, which this version does not know",
                hint="run the version that took it",
            ) from error
    return replace(settings, **values)


class LiveSettings:
    """`given`: the settings as the environment has them."""

    def __init__(self, given: Settings, records: LocalStore, loop: Loop[State, Event], rules: Rules) -> None:
        self._given = given
        self._records = records
        self._loop = loop
        self._rules = rules
        self._lock = threading.Lock()

    def in_force(self) -> dict[str, str]:
        """By name, as text."""
        state = self._loop.state
        return {
            "CILIATE_POLICY_ENFORCEMENT": str(state.enforcement),
            "CILIATE_POLICY_AUDIT": "true" if state.audit else "false",
        }

    def changed(self) -> frozenset[str]:
        """Those that are not as the environment has them, or were set to be just so."""
        return frozenset(self._records.settings())

    def change(self, asked: Mapping[str, object]) -> None:
        """None: what the environment says again. In force and kept when it returns. Raises InvalidInput, Exhausted
        where the rules do not fit when they are enforced so, and then nothing is changed."""
        wanted = {name: _checked(name, value) for name, value in asked.items()}
        with self._lock:
            before = self._records.settings()
            after = {name: text for name, text in {**before, **wanted}.items() if text is not None}
            self._keep(after)
            try:
                self._enforce(with_kept(self._given, after))
            except BaseException:
                self._keep(before)
                self._enforce(with_kept(self._given, before))
                raise

    def _keep(self, settings: Mapping[str, str]) -> None:
        kept = self._records.settings()
        for name in kept.keys() | settings.keys():
            if kept.get(name) != settings.get(name):
                self._records.keep_setting(name, settings.get(name))

    def _enforce(self, settings: Settings) -> None:
        """What is in force already costs nothing."""
        self._rules.enforce(Enforcement(settings.policy_enforcement))
        self._loop.call(AuditSet(settings.policy_audit), timeout=_REALIZE_SECONDS)


def _checked(name: str, text: object) -> str | None:
    setting: Setting | None = _BY_NAME.get(name)
    if setting is None:
        raise InvalidInput("no such setting", path=name, hint="see `ciliate config`")
    if setting.unbuilt:
        raise InvalidInput(f"it cannot be set yet: {setting.unbuilt}", path=name)
    if not setting.live:
        known = ", ".join(each.name for each in SETTINGS if each.live)
        raise InvalidInput(
            "it is read at the agent's start only",
            path=name,
            hint=f"set it in /etc/ciliate/ciliate.env and restart the agent; while it runs, {known} can be changed",
        )
    if text is None:
        return None
    if not isinstance(text, str):
        raise InvalidInput("not text", path=name, hint='write it in quotes, as "true"')
    try:
        setting.parse(text)
    except ValueError as error:
        raise InvalidInput(str(error), path=name) from error
    return text
