"""HTTP to ciliate's unix sockets. What goes wrong becomes a CiliateError with a hint."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from model.errors import (
    CiliateError,
    Conflict,
    Exhausted,
    Forbidden,
    InvalidInput,
    NotFound,
    Unavailable,
    Unsupported,
)

ERRORS: Mapping[int, type[CiliateError]] = {
    error.status: error
    for error in (InvalidInput, Forbidden, NotFound, Conflict, Exhausted, Unsupported, Unavailable)
}

Query = Mapping[str, str | int | float | Sequence[str]]

START = "start it: `systemctl start ciliate` (or `make run` in a clone)"


@dataclass(frozen=True, slots=True)
class Places:
    """Where the sockets are."""

    run_dir: Path
    api: Path | None = None
    """Given by the user: used for reads and writes."""
    token: str = ""
    """For the cluster's store, where it asks for one."""

    def agent(self, timeout: float = 10.0) -> Service:
        """The agent's API. Who may not write reads through the group's socket."""
        if self.api is not None:
            return Service("the agent", (self.api,), timeout, self.token)
        sockets = (self.run_dir / "api.sock", self.run_dir / "api-ro.sock")
        return Service("the agent", sockets, timeout, self.token)

    def observer(self, timeout: float = 10.0) -> Service:
        return Service("ciliate-observe", (self.run_dir / "observe.sock",), timeout)


class _UnixConnection(HTTPConnection):
    def __init__(self, path: Path, timeout: float | None) -> None:
        super().__init__("ciliate", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))

    def be_patient(self) -> None:
        """From now on a quiet stream is no broken one."""
        self._socket.settimeout(None)


@dataclass(frozen=True, slots=True)
class Service:
    """Speaks to the first of `sockets` that this user may open; the others serve reads only."""

    name: str
    sockets: tuple[Path, ...]
    timeout: float
    token: str = ""

    def get(self, path: str, query: Query | None = None) -> Any:
        return self._json("GET", path, query, None, self.timeout)

    def put(self, path: str, body: object, query: Query | None = None, *, wait: float = 0.0) -> Any:
        return self._json("PUT", path, query, body, self.timeout + wait)

    def post(self, path: str, query: Query | None = None, body: object = None) -> Any:
        return self._json("POST", path, query, body, self.timeout)

    def patch(self, path: str, body: object) -> Any:
        return self._json("PATCH", path, None, body, self.timeout)

    def delete(self, path: str, query: Query | None = None, *, wait: float = 0.0) -> Any:
        return self._json("DELETE", path, query, None, self.timeout + wait)

    def text(self, path: str) -> str:
        """An answer that is no JSON."""
        _, response = self._request("GET", path, None, None, self.timeout)
        try:
            return response.read().decode()
        except (ValueError, HTTPException, OSError) as error:
            raise Unavailable(f"{self.name}'s answer to GET {path} is not understood: {error}") from None

    def lines(self, path: str, query: Query | None = None) -> Iterator[bytes]:
        """The lines of an answer that may never end."""
        connection, response = self._request("GET", path, query, None, self.timeout)
        connection.be_patient()
        while line := response.readline():
            yield line

    def _json(self, method: str, path: str, query: Query | None, body: object, timeout: float) -> Any:
        _, response = self._request(method, path, query, body, timeout)
        try:
            return json.loads(response.read())
        except (ValueError, HTTPException, OSError) as error:
            raise Unavailable(f"{self.name}'s answer to {method} {path} is not understood: {error}") from None

    def _request(
        self, method: str, path: str, query: Query | None, body: object, timeout: float
    ) -> tuple[_UnixConnection, HTTPResponse]:
        target = quote(f"/v1/{path}", safe="/:") + (f"?{urlencode(query, doseq=True)}" if query else "")
        text = None if body is None else json.dumps(body)
        headers = {} if text is None else {"Content-Type": "application/json"}
        if self.token and method != "GET":
            headers["X-Consul-Token"] = self.token
        sockets = self.sockets if method == "GET" else self.sockets[:1]
        for last, socket_path in zip((*[False] * (len(sockets) - 1), True), sockets, strict=True):
            connection = _UnixConnection(socket_path, timeout)
            try:
                connection.request(method, target, text, headers)
                response = connection.getresponse()
            except PermissionError:
                if last:
                    raise self._forbidden(method) from None
                continue
            except TimeoutError:
                raise Unavailable(
                    f"{self.name} has not answered {method} /v1/{path} within {timeout:g} s",
                    hint="its log tells why: `journalctl -u ciliate`",
                ) from None
            except (OSError, HTTPException) as error:
                reason = getattr(error, "strerror", None) or error
                raise Unavailable(
                    f"{self.name} does not answer at {socket_path}: {reason}", hint=START
                ) from None
            if response.status >= 400:
                raise _error(response)
            return connection, response
        raise AssertionError("there is always a last socket")

    def _forbidden(self, method: str) -> CiliateError:
        if method == "GET":
            hint = "run this as root, or join the group ciliate"
        else:
            hint = "run this as root: whoever writes owns the network"
        return Unavailable(f"no permission to talk to {self.name} at {self.sockets[0]}", hint=hint)


def _error(response: HTTPResponse) -> CiliateError:
    try:
        answer = json.loads(response.read())
        message, path, hint = answer["error"], answer.get("path", ""), answer.get("hint", "")
    except (ValueError, LookupError, TypeError, AttributeError):
        message, path, hint = f"status {response.status} {response.reason}", "", ""
    return ERRORS.get(response.status, CiliateError)(str(message), path=str(path), hint=str(hint))
