"""PURE. What GET /v1/flows was asked for: which flows, from when on, and whether to stay."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from model.errors import InvalidInput
from observe.filters import Predicate, compile_filter
from observe.flow import Flow, Lost

T = TypeVar("T")

UNITS = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9}


@dataclass(frozen=True, slots=True)
class Query:
    """`last` is the number of flows of the past, newest kept; None: all that are there, or none when following
    without `since`. Times in ns since 1970; None: no bound."""

    wanted: Predicate
    follow: bool
    last: int | None
    since_ns: int | None
    until_ns: int | None

    def matches(self, flow: Flow) -> bool:
        return (
            (self.since_ns is None or flow.time_ns >= self.since_ns)
            and (self.until_ns is None or flow.time_ns < self.until_ns)
            and self.wanted(flow)
        )

    def wants(self, record: Flow | Lost) -> bool:
        """Losses are told to everybody: any of them may have been wanted."""
        return isinstance(record, Lost) or self.matches(record)

    @property
    def past(self) -> int | None:
        """How many flows of the past are wanted; None: all."""
        if self.last is None and self.follow and self.since_ns is None:
            return 0
        return self.last


def parse_time(text: str, now_ns: int) -> int:
    """`30s`, `5m`, `2h` ago, or a time as RFC 3339 writes it (UTC where it names no zone)."""
    relative = re.fullmatch(r"(\d{1,9})(ms|s|m|h|d)", text)
    if relative:
        return now_ns - int(relative[1]) * UNITS[relative[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is neither a time like 2026-01-31T12:00:00Z nor an age like 5m") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1e9)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"{text!r} is no number of flows")
    return int(text)


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text == "true"


def parse_query(parameters: Mapping[str, Sequence[str]], now_ns: int) -> Query:
    """Raises InvalidInput whose path is the parameter's name."""

    def once(name: str, parse: Callable[[str], T]) -> T | None:
        texts = parameters.get(name, ())
        if len(texts) > 1:
            raise InvalidInput("given twice", path=name)
        try:
            return parse(texts[0]) if texts else None
        except ValueError as error:
            raise InvalidInput(str(error), path=name) from None

    window = ("follow", "last", "since", "until")
    return Query(
        wanted=compile_filter({name: texts for name, texts in parameters.items() if name not in window}),
        follow=once("follow", _flag) or False,
        last=once("last", _count),
        since_ns=once("since", lambda text: parse_time(text, now_ns)),
        until_ns=once("until", lambda text: parse_time(text, now_ns)),
    )
