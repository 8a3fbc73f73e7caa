"""Docker's calls go first, but not for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from agent.courtesy import LONGEST_SECONDS, Courtesy


@contextmanager
def call_in_progress(courtesy: Courtesy) -> Iterator[None]:
    """A request that is being served until the end of the block."""
    begun, end = threading.Event(), threading.Event()

    def application(_environ: dict[str, Any], _start: Callable[..., Any]) -> Iterable[bytes]:
        begun.set()
        end.wait(10)
        return _Body([b"done"])

    thread = threading.Thread(target=lambda: courtesy.first(application)({}, lambda *_: None))
    thread.start()
    begun.wait(10)
    try:
        yield
    finally:
        end.set()
        thread.join()


class _Body(list[bytes]):
    def close(self) -> None:
        """As WSGI wants it to be called."""


def seconds_of(action: Callable[[], None]) -> float:
    began = time.monotonic()
    action()
    return time.monotonic() - began


def test_nobody_waits_while_docker_asks_nothing() -> None:
    assert seconds_of(Courtesy().give_way) < LONGEST_SECONDS / 2


def test_who_computes_goes_on_when_the_call_is_answered() -> None:
    courtesy = Courtesy()
    with call_in_progress(courtesy):
        waiter = threading.Thread(target=courtesy.give_way)
        waiter.start()
    waiter.join(10)
    assert not waiter.is_alive()
    assert seconds_of(courtesy.give_way) < LONGEST_SECONDS / 2


def test_a_call_without_end_is_waited_for_half_of_the_time_at_most() -> None:
    courtesy = Courtesy()
    with call_in_progress(courtesy):
        assert seconds_of(courtesy.give_way) >= LONGEST_SECONDS
        assert seconds_of(courtesy.give_way) < LONGEST_SECONDS / 2


def test_a_call_that_fails_is_over() -> None:
    courtesy = Courtesy()

    def application(_environ: dict[str, Any], _start: Callable[..., Any]) -> Iterable[bytes]:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError):
        courtesy.first(application)({}, lambda *_: None)
    assert seconds_of(courtesy.give_way) < LONGEST_SECONDS / 2
