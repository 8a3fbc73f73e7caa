"""Readers on a real unix socket: the past, the present, filters, nonsense, and readers that are too slow."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from observe.exchange import MOST_CONNECTIONS, Exchanges
from observe.feed import Feed
from observe.flow import Flow
from observe.metrics import Metrics
from observe.serve import Flows

Story = Callable[[Path, Feed], Coroutine[Any, Any, None]]


def play(path: Path, story: Story, capacity: int = 64) -> None:
    """Serves an empty feed at `path` while the story runs."""

    async def run() -> None:
        feed = Feed(capacity)
        handler = Flows(feed, Metrics(), lambda: {"status": "ok"})
        server = await asyncio.start_unix_server(Exchanges().serve(handler), str(path))
        try:
            await asyncio.wait_for(story(path, feed), 20)
        finally:
            server.close()

    asyncio.run(run())


async def send(path: Path, raw: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(raw.encode())
    return reader, writer


async def fetch(path: Path, target: str, method: str = "GET") -> tuple[int, Any]:
    """Status and JSON of a whole answer; NDJSON becomes a list."""
    reader, writer = await send(path, f"{method} {target} HTTP/1.0\r\n\r\n")
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    status = int(head.split()[1])
    if b"ndjson" in head:
        return status, [json.loads(line) for line in body.splitlines()]
    return status, json.loads(body)


async def follow(path: Path, target: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A reader behind the head of its answer."""
    reader, writer = await send(path, f"GET {target} HTTP/1.0\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


def test_the_past(tmp_path: Path, flow: Callable[..., Flow]) -> None:
    async def story(path: Path, feed: Feed) -> None:
        assert await fetch(path, "/v1/flows") == (200, [])
        feed.publish([flow(destination_port=port) for port in (80, 81, 80, 82)])

        _, flows = await fetch(path, "/v1/flows")
        assert [each["destination"]["port"] for each in flows] == [80, 81, 80, 82]
        _, flows = await fetch(path, "/v1/flows?last=2")
        assert [each["destination"]["port"] for each in flows] == [80, 82]
        _, flows = await fetch(path, "/v1/flows?last=1&to-port=80")
        assert [each["destination"]["port"] for each in flows] == [80]
        _, flows = await fetch(path, "/v1/flows?last=0")
        assert flows == []
        _, flows = await fetch(path, "/v1/flows?to-port=81&to-port=82&verdict=dropped")
        assert [each["destination"]["port"] for each in flows] == [81, 82]

    play(tmp_path / "s", story)


def test_a_follower_sees_flows_as_they_come(tmp_path: Path, flow: Callable[..., Flow]) -> None:
    async def story(path: Path, feed: Feed) -> None:
        feed.publish([flow(destination_port=1), flow(destination_port=2)])
        reader, writer = await follow(path, "/v1/flows?follow=true&last=1")
        assert json.loads(await reader.readline())["destination"]["port"] == 2
        feed.publish([flow(destination_port=3)])
        assert json.loads(await reader.readline())["destination"]["port"] == 3
        writer.close()

    play(tmp_path / "s", story)


def test_a_follower_with_an_end_time_is_let_go(tmp_path: Path) -> None:
    async def story(path: Path, feed: Feed) -> None:
        assert await fetch(path, "/v1/flows?follow=true&until=1s") == (200, [])

    play(tmp_path / "s", story)


def test_a_slow_follower_is_told_what_it_missed(tmp_path: Path, flow: Callable[..., Flow]) -> None:
    async def story(path: Path, feed: Feed) -> None:
        reader, writer = await follow(path, "/v1/flows?follow=true")
        written = 0
        for _ in range(300):  # far more than the socket's buffers hold; nobody reads
            feed.publish([flow(destination_port=80) for _ in range(10)])
            written += 10
            await asyncio.sleep(0)
        seen = lost = 0
        while seen + lost < written:
            record = json.loads(await reader.readline())
            lost += record.get("lost", 0)
            seen += "lost" not in record
        assert lost > 0, "the writer did not wait"
        assert seen + lost == written, "each flow was seen or counted"
        writer.close()

    play(tmp_path / "s", story)


def test_nonsense_is_answered_with_the_parameter_and_a_hint(tmp_path: Path) -> None:
    async def story(path: Path, feed: Feed) -> None:
        status, answer = await fetch(path, "/v1/flows?verdict=perhaps")
        assert status == 400
        assert answer["path"] == "verdict" and "forwarded, dropped" in answer["error"]
        status, answer = await fetch(path, "/v1/flows?colour=red")
        assert status == 400 and "known:" in answer["hint"]
        status, answer = await fetch(path, "/v2/flows")
        assert status == 404 and "/v1/flows" in answer["hint"]
        status, answer = await fetch(path, "/v1/flows", method="DELETE")
        assert status == 405

    play(tmp_path / "s", story)


def test_what_is_not_http_is_refused(tmp_path: Path) -> None:
    async def story(path: Path, feed: Feed) -> None:
        for raw in ("hello\r\n\r\n", "GET /v1/flows HTTP/1.1\r\nX: " + "y" * 40000, "\x00" * 64 + "\r\n\r\n"):
            reader, writer = await send(path, raw)
            head = await reader.read()
            assert head.startswith(b"HTTP/1.1 400"), raw[:20]
            writer.close()
        assert (await fetch(path, "/v1/healthz"))[1] == {"status": "ok"}

    play(tmp_path / "s", story)


def test_a_connection_can_be_used_again(tmp_path: Path) -> None:
    async def story(path: Path, feed: Feed) -> None:
        request = "GET /v1/healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        reader, writer = await send(path, request + request)
        answered = b""
        while answered.count(b'"status"') < 2:
            answered += await reader.read(4096)
        assert answered.count(b"200") == 2
        writer.close()

    play(tmp_path / "s", story)


def test_followers_that_leave_make_room_for_others(tmp_path: Path) -> None:
    async def story(path: Path, feed: Feed) -> None:
        followers = [await follow(path, "/v1/flows?follow=true") for _ in range(MOST_CONNECTIONS)]
        status, answer = await fetch(path, "/v1/healthz")
        assert status == 503 and "monitor" in answer["hint"]

        for _, writer in followers:
            writer.close()
        while status != 200:
            await asyncio.sleep(0.01)
            status, _ = await fetch(path, "/v1/healthz")

    play(tmp_path / "s", story)
