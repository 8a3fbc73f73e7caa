"""Counters of what was seen, for Prometheus.

The counters are plain numbers; the client library, 5 MB of it, is loaded when somebody asks for the first time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from model.flow import Direction, DropReason, FlowEvent, Verdict

if TYPE_CHECKING:
    from prometheus_client.core import CounterMetricFamily

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    def __init__(self) -> None:
        self.flows: Counter[tuple[Verdict, DropReason, Direction]] = Counter()
        self.lost: Counter[str] = Counter()
        """By where: datapath (its ring buffer was full), decode (not understood), reader (a reader of the
        stream was slower than the flows)."""

    def seen(self, event: FlowEvent) -> None:
        self.flows[event.verdict, event.reason, event.direction] += 1

    def text(self) -> bytes:
        from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

        registry = CollectorRegistry()
        registry.register(_Families(self))
        ProcessCollector(namespace="ciliate_observe", registry=registry)
        return generate_latest(registry)


class _Families:
    """A collector in the library's sense."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[CounterMetricFamily]:
        from prometheus_client.core import CounterMetricFamily

        flows = CounterMetricFamily(
            "ciliate_flows",
            "Flows seen, by verdict, reason of the drop, and direction as the container sees it.",
            labels=("verdict", "reason", "direction"),
        )
        for key, count in self._metrics.flows.items():
            flows.add_metric([part.name for part in key], count)
        yield flows
        lost = CounterMetricFamily(
            "ciliate_lost_events",
            "Events that were not seen: refused by the full ring buffer of the datapath, not understood (decode), "
            "or overwritten before a reader of the stream came by.",
            labels=("where",),
        )
        for where, count in self._metrics.lost.items():
            lost.add_metric([where], count)
        yield lost
