"""HTTP/1.1 for local readers: h11 parses, asyncio carries, a handler answers. GET only."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import h11

from model.errors import CiliateError, InvalidInput, NotFound, Unavailable

IDLE = 60.0
"""Seconds that a connection may wait for its next request."""

MOST_CONNECTIONS = 64

HEAD_BYTES = 16384
"""The longest request that is listened to."""


@dataclass(frozen=True, slots=True)
class Request:
    path: str
    query: dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Response:
    """`body`: whole, or as it comes until the reader leaves."""

    body: bytes | AsyncIterator[bytes]
    content_type: str = "application/json"
    status: int = 200


Handler = Callable[[Request], Awaitable[Response]]


def json_response(value: object, status: int = 200) -> Response:
    return Response(json.dumps(value).encode() + b"\n", status=status)


def error_response(error: CiliateError) -> Response:
    return json_response({"error": error.message, "path": error.path, "hint": error.hint}, error.status)


class Exchanges:
    """Serves any number of listeners with one handler each, MOST_CONNECTIONS at once in all."""

    def __init__(self) -> None:
        self._open = 0

    def serve(
        self, handler: Handler
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._open += 1
            full = self._open > MOST_CONNECTIONS
            try:
                await _Exchange(reader, writer).run(_refuse if full else handler)
            except (OSError, TimeoutError, h11.LocalProtocolError):
                pass  # the reader has gone
            finally:
                self._open -= 1
                writer.close()

        return connected


async def _refuse(_request: Request) -> Response:
    return error_response(Unavailable("too many readers", hint="end another `ciliate monitor` first"))


class _Exchange:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        writer.transport.set_write_buffer_limits(high=HEAD_BYTES)

    async def run(self, handler: Handler) -> None:
        while True:
            try:
                async with asyncio.timeout(IDLE):
                    request = await self._request()
                if request is None:
                    return
                response = await self._answer(handler, request)
            except h11.RemoteProtocolError as error:
                response = error_response(InvalidInput(f"no HTTP request: {error}"))
                if self._connection.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
                    return
            await self._respond(response)
            if self._connection.our_state is not h11.DONE or self._connection.their_state is not h11.DONE:
                return
            self._connection.start_next_cycle()

    async def _request(self) -> h11.Request | None:
        """The next request, its body read and ignored; None when the reader has closed."""
        request = None
        while True:
            event = self._connection.next_event()
            if event is h11.NEED_DATA:
                self._connection.receive_data(await self._reader.read(HEAD_BYTES))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.EndOfMessage):
                return request
            elif isinstance(event, h11.ConnectionClosed):
                return None

    async def _answer(self, handler: Handler, request: h11.Request) -> Response:
        try:
            if request.method != b"GET":
                raise _NotAllowed("only GET is served here")
            target = urlsplit(request.target.decode("ascii"))
            query = parse_qs(target.query, keep_blank_values=True, max_num_fields=200)
            return await handler(Request(target.path, query))
        except CiliateError as error:
            return error_response(error)
        except ValueError as error:
            return error_response(InvalidInput(f"the request is not understood: {error}"))

    async def _respond(self, response: Response) -> None:
        headers = [("Content-Type", response.content_type)]
        if isinstance(response.body, bytes):
            headers.append(("Content-Length", str(len(response.body))))
        else:
            headers.append(("Connection", "close"))
        self._send(h11.Response(status_code=response.status, headers=headers))
        if isinstance(response.body, bytes):
            self._send(h11.Data(data=response.body))
            self._send(h11.EndOfMessage())
            await self._writer.drain()
        else:
            await self._stream(response.body)

    async def _stream(self, chunks: AsyncIterator[bytes]) -> None:
        """Until the chunks end or the reader leaves, which a quiet stream learns from its end of the
        connection only."""
        sending = asyncio.create_task(self._send_chunks(chunks))
        leaving = asyncio.create_task(self._reader.read(1))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)

    async def _send_chunks(self, chunks: AsyncIterator[bytes]) -> None:
        await self._writer.drain()
        async for chunk in chunks:
            self._send(h11.Data(data=chunk))
            await self._writer.drain()
        self._send(h11.EndOfMessage())
        await self._writer.drain()

    def _send(self, event: h11.Event) -> None:
        self._writer.write(self._connection.send(event) or b"")


class _NotAllowed(CiliateError):
    status = 405


def no_such_path(request: Request, known: tuple[str, ...]) -> NotFound:
    return NotFound(f"{request.path} is not served here", hint=f"served: {', '.join(known)}")
