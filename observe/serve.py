"""What readers may ask: /v1/flows and /v1/healthz on the unix socket, /metrics on TCP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

from observe import metrics
from observe.exchange import Request, Response, json_response, no_such_path
from observe.feed import Feed, Record
from observe.flow import Flow, Lost, to_line
from observe.metrics import Metrics
from observe.query import Query, parse_query
from observe.ring import Cursor, Ring

CHUNK = 128
"""Records between two waits for the reader, so that none keeps the others waiting."""


class Flows:
    """GET /v1/flows?follow=true&last=N&since=..&until=..&FILTERS: one JSON object on each line, oldest first."""

    def __init__(self, feed: Feed, metrics: Metrics, health: Callable[[], dict[str, object]]) -> None:
        self._feed = feed
        self._metrics = metrics
        self._health = health

    async def __call__(self, request: Request) -> Response:
        if request.path == "/v1/healthz":
            return json_response(self._health())
        if request.path == "/v1/flows":
            query = parse_query(request.query, time.time_ns())
            return Response(self._lines(query), "application/x-ndjson")
        raise no_such_path(request, ("/v1/flows", "/v1/healthz"))

    async def _lines(self, query: Query) -> AsyncIterator[bytes]:
        """The past as it is now, then, if wanted, what comes."""
        ring = self._feed.ring
        end = ring.written
        cursor = Cursor(ring, first_wanted(ring, query))
        while query.follow or cursor.position < end:
            if query.follow and not await self._more(cursor, query.until_ns):
                return
            limit = CHUNK if query.follow else min(CHUNK, end - cursor.position)
            missed, records = cursor.take(limit)
            if missed:
                self._metrics.lost["reader"] += missed
                yield to_line(Lost(time.time_ns(), missed, "reader"))
            chunk = b"".join(to_line(record) for record in records if query.wants(record))
            if chunk:
                yield chunk

    async def _more(self, cursor: Cursor[Record], until_ns: int | None) -> bool:
        """Waits for something to read; False when the reader's time is over before."""
        patience = None if until_ns is None else max(0.0, (until_ns - time.time_ns()) / 1e9)
        try:
            async with asyncio.timeout(patience):
                await self._feed.beyond(cursor)
        except TimeoutError:
            return False
        return True


def first_wanted(ring: Ring[Record], query: Query) -> int:
    """The number of the record to begin with, so that the last N wanted flows are not missed."""
    if query.past is None:
        return ring.oldest
    number, missing = ring.written, query.past
    while missing and number > ring.oldest:
        number -= 1
        record = ring[number]
        missing -= isinstance(record, Flow) and query.matches(record)
    return number


async def serve_metrics(counters: Metrics, request: Request) -> Response:
    if request.path != "/metrics":
        raise no_such_path(request, ("/metrics",))
    return Response(counters.text(), metrics.CONTENT_TYPE)
