"""Counters of what was seen, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, ProcessCollector, generate_latest

from model.flow import Direction, DropReason, FlowEvent, Verdict

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """One registry of its own; nothing is shared with other instances."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(namespace="ciliate_observe", registry=self._registry)
        self._flows = Counter(
            "ciliate_flows",
            "Flows seen, by verdict, reason of the drop, and direction as the container sees it",
            ["verdict", "reason", "direction"],
            registry=self._registry,
        )
        self._lost = Counter(
            "ciliate_lost_events",
            "Events that nobody saw: where=datapath (its ring buffer was full), decode (not understood), "
            "reader (a reader of the stream was too slow)",
            ["where"],
            registry=self._registry,
        )
        self._children: dict[tuple[Verdict, DropReason, Direction], Counter] = {}

    def seen(self, event: FlowEvent) -> None:
        key = (event.verdict, event.reason, event.direction)
        child = self._children.get(key)
        if child is None:
            child = self._flows.labels(*(part.name for part in key))
            self._children[key] = child
        child.inc()

    def lost(self, where: str, count: int) -> None:
        self._lost.labels(where).inc(count)

    def text(self) -> bytes:
        return generate_latest(self._registry)
