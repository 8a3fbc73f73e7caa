"""Asks the agent's API for the names that are wanted, off the path of the events.

A question that gets no answer ends the asking for `PAUSE` seconds: the agent is down or busy, flows go on with
what is known."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h11

from model.errors import Unavailable
from observe.names import Names, Question

TIMEOUT = 2.0
"""Seconds for one answer. Longer than an event waits: a late answer serves the next event."""

PAUSE = 1.0

MOST_BYTES = 1 << 20


async def get(socket_path: Path, target: str) -> Any:
    """The JSON that GET `target` answers with, or None if there is no such thing. Raises Unavailable."""
    try:
        async with asyncio.timeout(TIMEOUT):
            reader, writer = await asyncio.open_unix_connection(str(socket_path))
            try:
                return await _exchange(reader, writer, target)
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError, h11.RemoteProtocolError) as error:
        raise Unavailable(f"the agent does not answer GET {target}: {error!r}") from error


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: str) -> Any:
    connection = h11.Connection(h11.CLIENT)
    request = h11.Request(method="GET", target=target, headers=[("Host", "ciliate"), ("Connection", "close")])
    for event in (request, h11.EndOfMessage()):
        writer.write(connection.send(event) or b"")
    status, body = 0, bytearray()
    while True:
        received = connection.next_event()
        if received is h11.NEED_DATA:
            connection.receive_data(await reader.read(65536))
        elif isinstance(received, h11.Response):
            status = received.status_code
        elif isinstance(received, h11.Data):
            body += received.data
            if len(body) > MOST_BYTES:
                raise ValueError("too long an answer")
        elif isinstance(received, h11.EndOfMessage):
            break
        elif isinstance(received, h11.ConnectionClosed):
            raise ValueError("no answer")
    if status == 404:
        return None
    if status != 200:
        raise ValueError(f"status {status}")
    return json.loads(body)


class Asker:
    """Answers what `names` wants, one question after the other. `answered` is called after every answer, and
    when the agent fails to answer; `failing` says which."""

    def __init__(self, socket_path: Path, names: Names, answered: Callable[[], None]) -> None:
        self._socket_path = socket_path
        self._names = names
        self._answered = answered
        self._wake = asyncio.Event()
        self.failing = False

    def nudge(self) -> None:
        """Something may be wanted."""
        if self._names.wanted():
            self._wake.set()

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                while question := self._names.wanted():
                    await self._ask(question)
                    self.failing = False
                    self._answered()
            except Unavailable:
                self.failing = True
                self._names.forget_wanted()
                self._answered()
                await asyncio.sleep(PAUSE)

    async def _ask(self, question: Question) -> None:
        answer = await get(self._socket_path, f"/v1/{question.path}")
        try:
            self._names.learn(question, answer, time.monotonic())
        except ValueError as error:
            raise Unavailable(str(error)) from error
