"""How Consul is asked: py-consul's calls over connections of our own, which say whether a request that failed may have
been carried out, have time-outs everywhere, and can be broken off by another thread."""

from __future__ import annotations

import json
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any

from consul.base import Consul, HTTPClient, Response

from model.errors import Forbidden, Unavailable
from store.consul_address import ConsulAddress

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 3.0
"""A leader that has followers answers in milliseconds; one that has lost them may never answer."""

RIGHTS = "see which rights a token needs in the guide's page on Consul"

_IDLE_LINES = 4

_KEEPALIVE = ((socket.TCP_KEEPIDLE, 5), (socket.TCP_KEEPINTVL, 2), (socket.TCP_KEEPCNT, 3))
"""A host that is cut off learns of it in 11 s, although nothing is sent while a query waits."""

_NOT_DONE = ("No cluster leader", "No known Consul servers", "rate limit", "Raft leader not found")
"""In answers with status 5xx: nothing was given to the leader."""


class Unreached(Unavailable):
    """The request has surely changed nothing."""


class BrokenOff(Unreached):
    """Another thread has ended the wait for what was only read."""


class Unanswered(Unavailable):
    """The request was sent. Whether it was carried out, or yet will be, is not known."""


class Token:
    """The token of the settings. A file is read again when it has changed."""

    def __init__(self, address: ConsulAddress) -> None:
        self._file = address.token_file
        self._text = address.token
        self._stamp: tuple[int, int, int] | None = None

    def __call__(self) -> str:
        if self._file is not None:
            try:
                found = self._file.stat()
                stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
                if stamp != self._stamp:
                    self._text, self._stamp = self._file.read_text().strip(), stamp
            except OSError as error:
                raise Unreached(
                    f"the token for Consul cannot be read: {self._file}: {error.strerror}",
                    path="CILIATE_CONSUL_TOKEN_FILE",
                    hint="write the token's secret into that file",
                ) from error
        return self._text


class Line:
    """One connection, kept between requests, for one thread at a time."""

    def __init__(self, address: ConsulAddress) -> None:
        self._address = address
        self._connection: HTTPConnection | None = None
        self._guard = threading.Lock()
        self._broken_off = False

    def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: str | bytes | None, seconds: float
    ) -> Response:
        """`path` with its query. `seconds` for the whole answer to begin, and between its parts."""
        self.begin(method, path, headers, body, seconds)
        return self.finish(seconds)

    def begin(
        self, method: str, path: str, headers: Mapping[str, str], body: str | bytes | None, seconds: float
    ) -> None:
        """Sends the request; `finish` must follow."""
        connection = self._connect(seconds)
        with self._telling():
            connection.sock.settimeout(seconds)
            connection.request(method, path, body=body, headers=dict(headers))

    def ready(self, seconds: float) -> bool:
        """Whether the answer begins to come, or the connection has ended, within that time. Over TLS a new connection
        may seem ready too early, for what the server adds to the handshake: ask first for what is answered at once."""
        connection = self._connection
        if connection is None or connection.sock is None:
            return True
        poll = select.poll()
        poll.register(connection.sock, select.POLLIN)
        return bool(poll.poll(max(seconds, 0) * 1000))

    def finish(self, seconds: float) -> Response:
        connection = self._connection
        with self._telling():
            if connection is None or connection.sock is None:
                raise ConnectionError("the connection has ended")
            connection.sock.settimeout(seconds)
            answer = connection.getresponse()
            text = answer.read()
        if answer.will_close:
            self.close()
        return Response(answer.status, answer.headers, text)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except (OSError, HTTPException) as error:
            self.close()
            with self._guard:
                self._unless_broken_off()
            raise Unanswered(
                f"Consul at {self._address} does not answer: {_said(error)}",
                hint="is it running, has it a leader?",
            ) from error

    def break_off(self) -> None:
        """Ends the request under way at once, or else the next, from any thread: it raises BrokenOff. Only for what
        reads."""
        with self._guard:
            self._broken_off = True
            if self._connection is not None and self._connection.sock is not None:
                try:
                    self._connection.sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    return  # it has ended by itself

    def close(self) -> None:
        with self._guard:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _connect(self, seconds: float) -> HTTPConnection:
        with self._guard:
            self._unless_broken_off()
            connection = self._connection
        if connection is not None:
            if connection.sock is not None and not _ended(connection.sock):
                return connection
            self.close()
        limit = min(seconds, CONNECT_SECONDS)
        try:
            made = self._made(limit)
            made.connect()
        except (OSError, HTTPException) as error:
            raise Unreached(
                f"Consul at {self._address} cannot be reached: {_said(error)}", hint="is it running?"
            ) from error
        made.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            made.sock.setsockopt(socket.IPPROTO_TCP, option, value)
        with self._guard:
            self._connection = made
            self._unless_broken_off()
        return made

    def _unless_broken_off(self) -> None:
        if self._broken_off:
            self._broken_off = False
            raise BrokenOff(f"the request to Consul at {self._address} was broken off")

    def _made(self, seconds: float) -> HTTPConnection:
        address = self._address
        if not address.tls:
            return HTTPConnection(address.host, address.port, timeout=seconds)
        # Read for every connection: certificates are renewed while the agent runs.
        context = ssl.create_default_context(cafile=str(address.ca) if address.ca else None)
        if address.certificate is not None:
            context.load_cert_chain(address.certificate, address.key)
        return HTTPSConnection(address.host, address.port, timeout=seconds, context=context)


class Client(HTTPClient):  # type: ignore[misc]
    """py-consul's transport. Raises Unreached, Unanswered and Forbidden; what it returns has a status below 500."""

    def __init__(self, address: ConsulAddress) -> None:
        super().__init__(address.host, address.port)
        self._address = address
        self.token = Token(address)
        self._guard = threading.Lock()
        self._idle: list[Line] = []
        self._closed = False

    def send(
        self,
        method: str,
        path: str,
        params: Sequence[tuple[str, Any]] | None = None,
        body: str | bytes | None = None,
        *,
        token: str = "",
        line: Line | None = None,
        seconds: float = ANSWER_SECONDS,
    ) -> Response:
        """`token`: instead of the settings'. `line`: instead of one of the pool's."""
        uri, headers = self._addressed(path, params, token)
        if line is not None:
            return _judged(line.ask(method, uri, headers, body, seconds), path)
        taken = self._take()
        try:
            return _judged(taken.ask(method, uri, headers, body, seconds), path)
        finally:
            self._give(taken)

    def begin(self, line: Line, path: str, params: Sequence[tuple[str, Any]]) -> None:
        """Asks for what may take long to come."""
        uri, headers = self._addressed(path, params, "")
        line.begin("GET", uri, headers, None, ANSWER_SECONDS)

    def finish(self, line: Line, path: str, seconds: float) -> Response:
        return _judged(line.finish(seconds), path)

    def line(self) -> Line:
        return Line(self._address)

    def get(self, callback: Callable[[Response], Any], path: str, params: Any = None, **_: Any) -> Any:
        return callback(self.send("GET", path, params))

    def put(
        self, callback: Callable[[Response], Any], path: str, params: Any = None, data: str = "", **_: Any
    ) -> Any:
        return callback(self.send("PUT", path, params, data))

    def post(
        self, callback: Callable[[Response], Any], path: str, params: Any = None, data: str = "", **_: Any
    ) -> Any:
        return callback(self.send("POST", path, params, data))

    def delete(
        self, callback: Callable[[Response], Any], path: str, params: Any = None, data: str = "", **_: Any
    ) -> Any:
        return callback(self.send("DELETE", path, params, data))

    def close(self) -> None:
        with self._guard:
            self._closed = True
            idle, self._idle = self._idle, []
        for line in idle:
            line.close()

    def _addressed(
        self, path: str, params: Sequence[tuple[str, Any]] | None, token: str
    ) -> tuple[str, dict[str, str]]:
        secret = token or self.token()
        uri = str(self.uri(path, list(params or ()))).removeprefix(self.base_uri)
        return uri, {"X-Consul-Token": secret} if secret else {}

    def _take(self) -> Line:
        with self._guard:
            return self._idle.pop() if self._idle else Line(self._address)

    def _give(self, line: Line) -> None:
        with self._guard:
            if len(self._idle) < _IDLE_LINES and not self._closed:
                self._idle.append(line)
                return
        line.close()


class Api(Consul):  # type: ignore[misc]
    """py-consul, over a Client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        super().__init__(client.host, client.port, scheme="http")

    def http_connect(self, *_: Any, **__: Any) -> Client:
        return self._client


def decoded(response: Response) -> Any:
    return json.loads(response.body)


def _judged(response: Response, path: str) -> Response:
    if response.code < 400 or response.code in (404, 409):
        return response
    said = response.body.decode(errors="replace").strip()
    if response.code == 403:
        raise Forbidden(
            f"Consul refuses {path.removeprefix('/v1/')}: {said}",
            hint=RIGHTS,
        )
    if response.code == 429 or any(text in said for text in _NOT_DONE):
        raise Unreached(f"Consul cannot serve: {said}", hint="has the cluster a leader?")
    if response.code >= 500:
        raise Unanswered(f"Consul failed: {said}", hint="see its log")
    raise Unreached(f"Consul does not take {path}: {response.code} {said}")


def _ended(sock: socket.socket) -> bool:
    """Nothing may come while nothing was asked: if something did, it is the end."""
    try:
        sock.setblocking(False)
        sock.recv(1, 0 if isinstance(sock, ssl.SSLSocket) else socket.MSG_PEEK)
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True
    return True


def _said(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
