"""The ring of recent flows, and the waking of those who follow it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from observe.flow import Flow, Lost
from observe.ring import Cursor, Ring

Record = Flow | Lost


class Feed:
    def __init__(self, capacity: int) -> None:
        self.ring: Ring[Record] = Ring(capacity)
        self._news = asyncio.Event()

    def publish(self, records: Iterable[Record]) -> None:
        self.ring.extend(records)
        self._news.set()
        self._news = asyncio.Event()

    async def beyond(self, cursor: Cursor[Record]) -> None:
        """Returns when there is something at `cursor`."""
        while not cursor.behind:
            await self._news.wait()
