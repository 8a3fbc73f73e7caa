"""Events in, named flows out; floods are bounded, losses told, and an agent that is down delays nothing."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import deque
from collections.abc import Callable, Coroutine
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from datapath import abi
from model.flow import FlowEvent
from observe.feed import Feed
from observe.flow import Flow, Lost
from observe.metrics import Metrics
from observe.pipeline import BATCH, TICK, Pipeline

IDENTITIES = {1001: ["container:app=web"], 1002: ["container:app=client"]}
ENDPOINTS = {
    "7": {"id": 7, "container_name": "web", "ipv4": "10.200.0.2", "ipv6": "", "identity": 1001},
    "ipv4:10.200.0.3": {
        "id": 8,
        "container_name": "client",
        "ipv4": "10.200.0.3",
        "ipv6": "",
        "identity": 1002,
    },
}


def encode(event: FlowEvent) -> bytes:
    """As the datapath writes it."""
    record = abi.Event()
    for name in ("time_ns", "source_identity", "destination_identity", "source_port", "destination_port"):
        setattr(record, name, getattr(event, name))
    for name in (
        "length",
        "ifindex",
        "endpoint",
        "type",
        "reason",
        "verdict",
        "direction",
        "protocol",
        "tcp_flags",
    ):
        setattr(record, name, getattr(event, name))
    for name, address in (("source", event.source), ("destination", event.destination)):
        mapped = ip_address(f"::ffff:{address}") if address.version == 4 else address
        getattr(record, name)[:] = mapped.packed
    record.family = event.source.version
    return bytes(record)


class QueueSource:
    """A source in memory. Its pipe is readable while it holds events."""

    def __init__(self) -> None:
        self.events: deque[bytes] = deque()
        self.lost_count = 0
        self.replaced = self.closed = False
        self._read_end, self._write_end = os.pipe()

    def put(self, *records: bytes) -> None:
        if not self.events:
            os.write(self._write_end, b"!")
        self.events.extend(records)

    def fileno(self) -> int:
        return self._read_end

    def read(self, limit: int) -> list[bytes]:
        taken = [self.events.popleft() for _ in range(min(limit, len(self.events)))]
        if not self.events:
            os.read(self._read_end, 1)
        return taken

    def lost(self) -> int:
        return self.lost_count

    def current(self) -> bool:
        return not self.replaced

    def close(self) -> None:
        self.closed = True
        os.close(self._read_end)
        os.close(self._write_end)


class FakeAgent:
    """The agent's API, the reading half. `down`: takes connections, as the supervisor does, and says nothing."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.down = False

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        path = head.split()[1].decode()
        self.asked.append(path)
        if self.down:
            await asyncio.sleep(5)
        kind, _, key = path.removeprefix("/v1/").partition("/")
        answer: Any = ENDPOINTS.get(key)
        if kind == "identity" and int(key) in IDENTITIES:
            answer = {"id": int(key), "labels": IDENTITIES[int(key)]}
        status, body = ("200 OK", answer) if answer else ("404 NOT FOUND", {"error": "none"})
        text = json.dumps(body).encode()
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text)
        writer.close()


class Scene:
    def __init__(self, api: Path) -> None:
        self.source = QueueSource()
        self.agent = FakeAgent()
        self.feed = Feed(4096)
        self.metrics = Metrics()
        self.pipeline = Pipeline(self.feed, self.metrics, api)

    @property
    def flows(self) -> list[Flow]:
        kept = [self.feed.ring[number] for number in range(self.feed.ring.written)]
        return [record for record in kept if isinstance(record, Flow)]

    async def until(self, condition: Callable[[], bool]) -> float:
        """Seconds that it took."""
        started = time.monotonic()
        while not condition():
            assert time.monotonic() - started < 10
            await asyncio.sleep(0.002)
        return time.monotonic() - started


def play(tmp_path: Path, story: Callable[[Scene], Coroutine[Any, Any, None]]) -> Scene:
    async def run() -> Scene:
        scene = Scene(tmp_path / "api")
        server = await asyncio.start_unix_server(scene.agent, str(tmp_path / "api"))
        pipeline = scene.pipeline
        tasks = [asyncio.create_task(pipeline.asker.run()), asyncio.create_task(pipeline.run(scene.source))]
        try:
            await story(scene)
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return scene

    return asyncio.run(run())


def test_an_event_becomes_a_flow_with_names(tmp_path: Path, event: Callable[..., FlowEvent]) -> None:
    async def story(scene: Scene) -> None:
        scene.source.put(encode(event(time_ns=time.monotonic_ns())))
        await scene.until(lambda: len(scene.flows) == 1)

    scene = play(tmp_path, story)
    (flow,) = scene.flows
    assert (flow.source.name, flow.destination.name) == ("client", "web")
    assert flow.destination.labels.texts() == ["container:app=web"]
    assert abs(flow.time_ns - time.time_ns()) < 10 * 10**9, "wall clock"
    assert sum(scene.metrics.flows.values()) == 1
    assert scene.source.closed


def test_names_are_asked_for_once(tmp_path: Path, event: Callable[..., FlowEvent]) -> None:
    async def story(scene: Scene) -> None:
        for count in (50, 100):
            scene.source.put(*[encode(event())] * 50)
            await scene.until(lambda count=count: len(scene.flows) == count)  # type: ignore[misc]

    scene = play(tmp_path, story)
    assert sorted(scene.agent.asked) == sorted(
        ["/v1/identity/1001", "/v1/identity/1002", "/v1/endpoint/7", "/v1/endpoint/ipv4:10.200.0.3"]
    )


def test_an_agent_that_is_down_delays_the_first_event_only(
    tmp_path: Path, event: Callable[..., FlowEvent]
) -> None:
    async def story(scene: Scene) -> None:
        scene.agent.down = True
        scene.source.put(encode(event()))
        first = await scene.until(lambda: len(scene.flows) == 1)
        await scene.until(lambda: scene.pipeline.asker.failing)  # the question has run out of time
        scene.source.put(encode(event()))
        assert await scene.until(lambda: len(scene.flows) == 2) < first

    scene = play(tmp_path, story)
    assert [flow.source.name for flow in scene.flows] == ["", ""]
    assert scene.flows[0].source.identity == 1002


def test_a_flood_is_read_at_a_bounded_rate(tmp_path: Path, event: Callable[..., FlowEvent]) -> None:
    record = encode(event(source_identity=9, destination_identity=1, endpoint=0))

    async def story(scene: Scene) -> None:
        scene.source.put(*[record] * 20_000)
        await asyncio.sleep(20 * TICK)

    scene = play(tmp_path, story)
    assert 0 < len(scene.flows) <= 22 * BATCH


def test_what_the_kernel_refused_is_told_to_readers(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await asyncio.sleep(0.05)
        scene.source.lost_count = 12
        await scene.until(lambda: scene.feed.ring.written == 1)

    scene = play(tmp_path, story)
    record = scene.feed.ring[0]
    assert isinstance(record, Lost) and (record.count, record.where) == (12, "datapath")
    assert scene.metrics.lost == {"datapath": 12}


def test_what_is_no_event_is_counted(tmp_path: Path, event: Callable[..., FlowEvent]) -> None:
    good = encode(event(source_identity=9, destination_identity=1, endpoint=0))

    async def story(scene: Scene) -> None:
        scene.source.put(b"short", b"\xff" * len(good), good)
        await scene.until(lambda: len(scene.flows) == 1)

    assert play(tmp_path, story).metrics.lost == {"decode": 2}


def test_a_replaced_datapath_is_let_go(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        scene.source.replaced = True
        await scene.until(lambda: scene.source.closed)

    play(tmp_path, story)


def test_the_metrics_page(event: Callable[..., FlowEvent]) -> None:
    metrics = Metrics()
    metrics.seen(event())
    metrics.lost["reader"] += 3
    page = metrics.text().decode()
    assert 'ciliate_flows_total{direction="INGRESS",reason="POLICY_DENIED",verdict="DROPPED"} 1.0\n' in page
    assert 'ciliate_lost_events_total{where="reader"} 3.0\n' in page
    assert "ciliate_observe_process_resident_memory_bytes" in page
