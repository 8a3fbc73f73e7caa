"""The WSGI application: which socket a request came in by decides what it may ask.

The plugin socket speaks Docker's protocol and nothing else, the API socket REST and nothing else, the
read-only socket the reading half of REST."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol, cast

import structlog
from flask import Blueprint, Flask, Response, request
from flask_smorest import Api
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from agent.schema import ErrorSchema
from model.errors import CiliateError, Unsupported
from model.plugin_protocol import CONTENT_TYPE, encode, encode_error
from store.policies import OPERATOR

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

LARGEST_BODY = 4 << 20
"""Bytes. One set of rules takes 512 KB at the most, without the comments and the indentation of YAML."""

READING = frozenset({"GET", "HEAD", "OPTIONS"})

log = structlog.get_logger("api")


class Closable(Protocol):
    """What Flask answers."""

    def __iter__(self) -> Iterator[bytes]: ...

    def close(self) -> None: ...


class BySocket:
    """`plugin`, `rest`: applications. `at_once`: how many requests may run at a time that came in by a socket of this
    path. Above that they are refused: a queue would look like an agent that does not answer."""

    def __init__(
        self,
        plugin: Wsgi,
        rest: Wsgi,
        *,
        plugin_path: Path,
        read_only_path: Path,
        at_once: Mapping[Path, int],
    ) -> None:
        self._plugin = plugin
        self._rest = rest
        self._plugin_path = str(plugin_path)
        self._read_only_path = str(read_only_path)
        self._free = {str(path): threading.BoundedSemaphore(number) for path, number in at_once.items()}

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        connection: socket.socket = environ["gunicorn.socket"]
        path = connection.getsockname()
        if path == self._plugin_path:
            return self._plugin(environ, start_response)
        refusal = self._refusal(environ, path, connection)
        if refusal is not None:
            return _refuse(start_response, *refusal)
        free = self._free[path]
        if not free.acquire(blocking=False):
            return _refuse(
                start_response, HTTPStatus.SERVICE_UNAVAILABLE, "too many requests at once", "try again"
            )
        try:
            with closing(cast(Closable, self._rest(environ, start_response))) as answer:
                return list(answer)
        finally:
            free.release()

    def _refusal(
        self, environ: Mapping[str, Any], path: str, connection: socket.socket
    ) -> tuple[HTTPStatus, str, str] | None:
        """Whoever writes policy owns the network."""
        if environ["REQUEST_METHOD"] in READING:
            return None
        if path == self._read_only_path:
            return HTTPStatus.FORBIDDEN, "this socket only reads", "write through the API socket, as root"
        peer = _peer(connection)
        log.info("write", method=environ["REQUEST_METHOD"], path=environ["PATH_INFO"], **peer)
        if peer["uid"] not in (0, os.geteuid()):
            return HTTPStatus.FORBIDDEN, f"user {peer['uid']} may not write", "write as root"
        return None


def _peer(connection: socket.socket) -> dict[str, int]:
    """Who is at the other end, by the kernel's word (unix(7), SO_PEERCRED)."""
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, gid = struct.unpack("3i", packed)
    return {"pid": pid, "uid": uid, "gid": gid}


def _refuse(start_response: Callable[..., Any], status: HTTPStatus, error: str, hint: str) -> Iterable[bytes]:
    body = json.dumps({"error": error, "path": "", "hint": hint}).encode()
    start_response(
        f"{status.value} {status.phrase}",
        [("Content-Type", "application/json"), ("Content-Length", str(len(body)))],
    )
    return [body]


def plugin_app(*drivers: Blueprint) -> Flask:
    """What the engine speaks to: the drivers, and what they are (Plugin.Activate, Docker's plugin protocol)."""
    app = Flask("plugin")
    for driver in drivers:
        app.register_blueprint(driver)

    @app.post("/Plugin.Activate")
    def activate() -> Response:
        return Response(encode({"Implements": ["NetworkDriver", "IpamDriver"]}), content_type=CONTENT_TYPE)

    @app.errorhandler(HTTPException)
    def unknown(error: HTTPException) -> Response:
        body = encode_error(Unsupported(f"ciliate has no {request.method} {request.path}"))
        return Response(body, error.code, content_type=CONTENT_TYPE)

    return app


class _Api(Api):  # type: ignore[misc]
    ERROR_SCHEMA = ErrorSchema


def rest_app() -> tuple[Flask, Api]:
    """An empty REST application with the one error handler; blueprints are registered by the caller."""
    app = Flask("ciliate")
    app.json.sort_keys = False  # type: ignore[attr-defined]  # fields in the order of their schemas
    app.url_map.merge_slashes = False  # a redirect is no answer to a mistyped path
    app.config.update(
        API_TITLE="ciliate",
        API_VERSION="v1",
        OPENAPI_VERSION="3.0.3",
        OPENAPI_URL_PREFIX="/v1",
        OPENAPI_JSON_PATH="openapi.json",
        MAX_CONTENT_LENGTH=LARGEST_BODY,
    )
    api = _Api(app)
    app.before_request(_ask_as_operator)
    app.register_error_handler(CiliateError, _known)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unknown)
    return app, api


def _ask_as_operator() -> None:
    """The store is asked with the token of whoever asks us, where it asks for tokens."""
    OPERATOR.set(request.headers.get("X-Consul-Token", ""))


def _answer(status: int, error: str, path: str = "", hint: str = "") -> Response:
    body = json.dumps({"error": error, "path": path, "hint": hint})
    return Response(body, status, content_type="application/json")


def _known(error: CiliateError) -> Response:
    return _answer(error.status, error.message, error.path, error.hint)


def _http(error: HTTPException) -> Response:
    if isinstance(error, RequestEntityTooLarge):
        return _answer(413, f"the body is larger than {LARGEST_BODY >> 20} MiB", hint="split it into several")
    messages = (getattr(error, "data", None) or {}).get("messages")
    if messages:
        path, text = _first(messages)
        return _answer(400, text, path)
    hints = {404: "see /v1/openapi.json for what there is", 405: "see /v1/openapi.json for the methods"}
    answer = _answer(
        error.code or 500, str(error.description or error.name), hint=hints.get(error.code or 0, "")
    )
    for name, value in error.get_headers():
        if name != "Content-Type":
            answer.headers[name] = value  # Allow, of what a method is not allowed for
    return answer


def _first(messages: Any) -> tuple[str, str]:
    """The path and the text of the first of webargs' problems: {"json": {"labels": {0: ["Not a valid string."]}}}."""
    path = ""
    while isinstance(messages, Mapping):
        name, messages = next(iter(messages.items()))
        if isinstance(name, int):
            path += f"[{name}]"
        elif name not in ("json", "query", "_schema"):
            path += f".{name}" if path else str(name)
    return path, str(messages[0] if isinstance(messages, list) else messages)


def _unknown(error: Exception) -> Response:
    if isinstance(error, ParseException):  # of a body in chunks that are none
        return _answer(400, " ".join(str(error).split()), hint="see RFC 9112, section 7.1")
    log.error("request failed", exc_info=error)
    return _answer(500, f"internal error: {type(error).__name__}: {error}", hint="see the agent's log")
