"""From the datapath's events to the ring: read, decode, name, keep.

A flood costs a bounded part of one CPU: no more than BATCH events are read in each TICK. The rest fills the
kernel's ring buffer, where what has no room is counted as lost at less cost than reading it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from datapath.decode import decode
from model.flow import FlowEvent
from observe.agent import Asker
from observe.feed import Feed
from observe.flow import Lost
from observe.holding import Holding
from observe.metrics import Metrics
from observe.names import Names
from observe.source import Source

BATCH = 200
TICK = 0.02
"""Seconds. BATCH / TICK = 10,000 events a second. An event is shown at most a tick late."""

LOOK_FOR_LOSS = 1.0
"""Seconds between two looks at the kernel's count of lost events."""


def _wall_clock_offset() -> int:
    """What to add to the datapath's clock, which is the monotonic one. Taken anew for each batch, because the
    wall clock is set now and then."""
    return time.time_ns() - time.monotonic_ns()


class Pipeline:
    def __init__(self, feed: Feed, metrics: Metrics, api_socket: Path) -> None:
        self._feed = feed
        self._metrics = metrics
        self._names = Names()
        self._holding = Holding(self._names)
        self.asker = Asker(api_socket, self._names, self._flush)
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, source: Source) -> None:
        """Reads `source` until another has taken its place, then closes it."""
        reading = asyncio.create_task(self._read(source))
        before = source.lost()
        try:
            while source.current() and not reading.done():
                await asyncio.wait((reading,), timeout=LOOK_FOR_LOSS)
                now = source.lost()
                if now > before:
                    self._tell_loss(now - before)
                before = now
            if reading.done():
                reading.result()
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            source.close()

    async def _read(self, source: Source) -> None:
        while True:
            await _readable(source)
            self._process(source.read(BATCH))
            await asyncio.sleep(TICK)

    def _tell_loss(self, count: int) -> None:
        self._metrics.lost["datapath"] += count
        self._feed.publish([Lost(time.time_ns(), count, "datapath")])

    def _process(self, records: list[bytes]) -> None:
        offset = _wall_clock_offset()
        events: list[tuple[int, FlowEvent]] = []
        for record in records:
            try:
                event = decode(record)
            except ValueError:
                self._metrics.lost["decode"] += 1
                continue
            events.append((event.time_ns + offset, event))
        self._holding.accept(events, time.monotonic())
        self._flush()

    def _flush(self) -> None:
        self._holding.impatient = self.asker.failing
        flows = self._holding.release(time.monotonic())
        for flow in flows:
            self._metrics.seen(flow.event)
        if flows:
            self._feed.publish(flows)
        deadline = self._holding.deadline
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._flush)
        self.asker.nudge()


async def _readable(source: Source) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(source.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(source.fileno())
