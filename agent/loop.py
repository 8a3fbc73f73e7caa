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

REPAIR_SECONDS = 1.0
"""Until the next attempt to put the kernel right."""


class Priority(IntEnum):
    """A container that starts waits for nobody's policy."""

    CONTAINER = 0
    NORMAL = 1
    STOP = 2


class Ticket:
    """The promise that one event will be realized, or refused, or not begun at all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun = False
        self._withdrawn = False
        self._done = threading.Event()
        self._error: BaseException | None = None
        self._revision = 0

    def begin(self) -> bool:
        """For the writer. False: who asked has given up, and has been told that nothing happens."""
        with self._lock:
            self._begun = not self._withdrawn
            return self._begun

    def settle(self, revision: int, error: BaseException | None) -> None:
        self._revision, self._error = revision, error
        self._done.set()

    def wait(self, timeout: float) -> int:
        """The revision in which the event took effect. Raises what refused it, or Unavailable if the writer has
        not begun with it after `timeout` seconds, and then never will: dockerd itself has no timeout and would
        hang, and who undoes what it has prepared must not be overtaken by the event itself."""
        if not self._done.wait(timeout):
            if self._withdraw():
                raise Unavailable(
                    f"the agent did not get to it within {timeout:g} s",
                    hint="nothing was changed: try again; `ciliate status` shows what keeps it busy",
                )
            if not self._done.wait(timeout):
                raise Unavailable(
                    f"the kernel has not answered within {timeout:g} s",
                    hint="the request may still take effect; see `ciliate status`",
                )
        if self._error is not None:
            raise self._error
        return self._revision

    def _withdraw(self) -> bool:
        with self._lock:
            self._withdrawn = not self._begun
            return self._withdrawn


@dataclass(frozen=True, slots=True, order=True)
class _Item(Generic[Event]):
    priority: int
    sequence: int
    event: Event = field(compare=False)
    ticket: Ticket = field(compare=False)


class Loop(Generic[State, Event]):
    """`step` is pure; `realize` performs operations in order; `repair` makes the kernel agree with a state,
    whatever it holds. It is called with the state in force when realizing failed half-way, and again until it
    succeeds; until then nothing else is done, because every step relies on the one before."""

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
        self._problem = ""
        self._stopping = False
        self._listeners: list[Callable[[], None]] = []
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    @property
    def state(self) -> State:
        return self._state

    @property
    def revision(self) -> int:
        return self._revision

    @property
    def problem(self) -> str:
        """Why the kernel may hold something else than the state says; empty while it does not."""
        return self._problem

    def listen(self, told: Callable[[], None]) -> None:
        """`told` is called whenever the state has changed, by the writer: it must not take time."""
        self._listeners.append(told)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """What was submitted before is still done; what comes later is refused."""
        self._stopping = True
        self._queue.put(_Item(Priority.STOP, next(self._sequence), None, Ticket()))
        self._thread.join()

    def submit(self, event: Event, priority: Priority = Priority.NORMAL) -> Ticket:
        ticket = Ticket()
        if self._stopping:
            ticket.settle(self._revision, Unavailable("the agent is stopping", hint="try again"))
        else:
            self._queue.put(_Item(priority, next(self._sequence), event, ticket))
        return ticket

    def call(self, event: Event, priority: Priority = Priority.NORMAL, timeout: float = 5.0) -> int:
        return self.submit(event, priority).wait(timeout)

    def _run(self) -> None:
        while True:
            try:
                item = self._queue.get(timeout=REPAIR_SECONDS if self._problem else None)
            except queue.Empty:
                self._put_right()
                continue
            if item.priority == Priority.STOP:
                return
            if item.ticket.begin():
                error = self._take(item.event)
                item.ticket.settle(self._revision, error)

    def _take(self, event: Event) -> BaseException | None:
        """Advance by one event, or stay where we were and say why."""
        if self._problem:
            self._put_right()
            if self._problem:
                return Unavailable(self._problem, hint="nothing was changed; see the agent's log")
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
            self._put_right()
            return error
        self._state = state
        self._revision += 1
        for told in self._listeners:
            told()
        return None

    def _put_right(self) -> None:
        try:
            self._repair(self._state)
        except Exception as error:
            if not self._problem:
                log.exception("the kernel could not be brought back to the state in force")
            self._problem = f"the kernel does not hold what it should: {error}"
        else:
            self._problem = ""
