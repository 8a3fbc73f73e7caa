"""The single writer: one thread owns the state; everybody else submits an event and may wait until it is
realized. The state is immutable, so a reader takes a snapshot and needs no lock."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Generic, TypeVar

import structlog

from model.errors import CiliateError, Unavailable

State = TypeVar("State")
Event = TypeVar("Event")

log = structlog.get_logger("loop")


class Priority(IntEnum):
    """A container that starts waits for nobody's policy."""

    CONTAINER = 0
    NORMAL = 1
    STOP = 2


@dataclass(slots=True)
class Ticket:
    """The promise that one event will be realized."""

    _done: threading.Event = field(default_factory=threading.Event)
    _error: BaseException | None = None
    revision: int = 0

    def settle(self, revision: int, error: BaseException | None) -> None:
        self.revision, self._error = revision, error
        self._done.set()

    def wait(self, timeout: float) -> int:
        """The revision in which the event took effect. Raises what refused it, or Unavailable after
        `timeout` seconds: dockerd itself has no timeout and would hang."""
        if not self._done.wait(timeout):
            raise Unavailable(
                f"the agent did not get to it within {timeout:g} s",
                hint="see `ciliate status`; the request may still take effect",
            )
        if self._error is not None:
            raise self._error
        return self.revision


@dataclass(frozen=True, slots=True, order=True)
class _Item(Generic[Event]):
    priority: int
    sequence: int
    event: Event = field(compare=False)
    ticket: Ticket = field(compare=False)


class Loop(Generic[State, Event]):
    """`step` is pure; `realize` performs operations in order; `repair` is called with the state in force
    when realizing failed half-way, and makes the kernel agree with it again."""

    def __init__(
        self,
        state: State,
        step: Callable[[State, Event], tuple[State, Sequence[Any]]],
        realize: Callable[[Sequence[Any]], None],
        repair: Callable[[State], None],
    ) -> None:
        self._state = state
        self._step = step
        self._realize = realize
        self._repair = repair
        self._queue: queue.PriorityQueue[_Item[Any]] = queue.PriorityQueue()
        self._sequence = itertools.count()
        self._revision = 0
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    @property
    def state(self) -> State:
        return self._state

    @property
    def revision(self) -> int:
        return self._revision

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """What was submitted before is still done."""
        self._queue.put(_Item(Priority.STOP, next(self._sequence), None, Ticket()))
        self._thread.join()

    def submit(self, event: Event, priority: Priority = Priority.NORMAL) -> Ticket:
        ticket = Ticket()
        self._queue.put(_Item(priority, next(self._sequence), event, ticket))
        return ticket

    def call(self, event: Event, priority: Priority = Priority.NORMAL, timeout: float = 5.0) -> int:
        return self.submit(event, priority).wait(timeout)

    def _run(self) -> None:
        while True:
            item = self._queue.get()
            if item.priority == Priority.STOP:
                return
            item.ticket.settle(self._revision, self._take(item.event))

    def _take(self, event: Event) -> BaseException | None:
        """Advance by one event, or stay where we were and say why."""
        try:
            state, operations = self._step(self._state, event)
        except CiliateError as error:
            return error
        except Exception as error:
            log.exception("event refused", event_type=type(event).__name__)
            return error
        try:
            self._realize(operations)
        except Exception as error:
            log.warning("event not realized", event_type=type(event).__name__, error=str(error))
            self._put_back()
            return error
        self._state = state
        self._revision += 1
        return None

    def _put_back(self) -> None:
        try:
            self._repair(self._state)
        except Exception:
            log.exception("the kernel could not be brought back to the state in force")
