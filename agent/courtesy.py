"""Who computes for long lets Docker's calls go first: a container's start takes a hundred short turns of the
interpreter, and must not wait for each of them while a thousand rules are read and resolved."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Any, Protocol, cast

LONGEST_SECONDS = 0.05
"""Then it is the computation's turn, for as long as it has waited: calls without end must not keep rules out."""

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _Answer(Protocol):
    def __iter__(self) -> Any: ...
    def close(self) -> None: ...


class Courtesy:
    """Safe for many threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._calls = 0
        self._not_before = 0.0

    def first(self, application: Wsgi) -> Wsgi:
        """The application, for whose requests others give way."""

        def call(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            with self._changed:
                self._calls += 1
            try:
                with closing(cast(_Answer, application(environ, start_response))) as answer:
                    return list(answer)
            finally:
                with self._changed:
                    self._calls -= 1
                    self._changed.notify_all()

        return call

    def give_way(self) -> None:
        """Waits while a request is being served, within limits. To be called once in a millisecond or so."""
        if not self._calls:
            return
        with self._changed:
            began = time.monotonic()
            if began >= self._not_before:
                self._changed.wait_for(lambda: not self._calls, LONGEST_SECONDS)
                now = time.monotonic()
                self._not_before = now + (now - began)
