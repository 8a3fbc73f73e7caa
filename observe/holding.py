"""PURE. Events that wait a moment for names.

They leave in the order in which they came, at the latest `patience` seconds after they came, with numbers only
if nothing else is known by then. The first one that must wait holds up those behind it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from model.flow import FlowEvent
from observe.flow import Flow
from observe.names import Names

PATIENCE = 1.0
"""Seconds. A busy machine takes a while to answer, and a flow without labels says little."""


class Holding:
    """`impatient`: nothing waits, because nobody will answer (the agent is down)."""

    def __init__(self, names: Names, *, patience: float = PATIENCE, capacity: int = 4096) -> None:
        self._names = names
        self._patience = patience
        self._capacity = capacity
        self._events: deque[tuple[float, int, FlowEvent]] = deque()
        self.impatient = False

    def accept(self, events: Iterable[tuple[int, FlowEvent]], now: float) -> None:
        """`events`: wall clock in ns, event."""
        deadline = now + self._patience
        self._events.extend((deadline, time_ns, event) for time_ns, event in events)

    def release(self, now: float) -> list[Flow]:
        """What need not or may not wait any longer."""
        flows = []
        while self._events:
            deadline, time_ns, event = self._events[0]
            complete, flow = self._names.flow(event, time_ns, now)
            full = len(self._events) > self._capacity
            if not (complete or full or self.impatient or now >= deadline):
                break
            flows.append(flow)
            self._events.popleft()
        return flows

    @property
    def deadline(self) -> float | None:
        """When the next one leaves, whatever is known by then."""
        return self._events[0][0] if self._events else None

    def __len__(self) -> int:
        return len(self._events)
