"""The WSGI application: which socket a request came in by decides what it may ask.

The plugin socket speaks Docker's protocol and nothing else, the API socket REST and nothing else, the
read-only socket the reading half of REST."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import structlog
from flask import Blueprint, Flask, Response
from flask_smorest import Api
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from model.errors import CiliateError
from model.plugin_protocol import CONTENT_TYPE, encode

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

LARGEST_BODY = 32 << 20
READING = frozenset({"GET", "HEAD", "OPTIONS"})

log = structlog.get_logger("api")


class BySocket:
    """`plugin`, `rest`: applications. At most `rest_threads` REST requests run at a time, so that Docker's calls
    always find a thread."""

    def __init__(
        self, plugin: Wsgi, rest: Wsgi, *, plugin_path: Path, read_only_path: Path, rest_threads: int
    ):
        self._plugin = plugin
        self._rest = rest
        self._plugin_path = str(plugin_path)
        self._read_only_path = str(read_only_path)
        self._free = threading.BoundedSemaphore(rest_threads)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        connection: socket.socket = environ["gunicorn.socket"]
        path = connection.getsockname()
        if path == self._plugin_path:
            return self._plugin(environ, start_response)
        if environ["REQUEST_METHOD"] not in READING:
            if path == self._read_only_path:
                return _refuse(
                    start_response,
                    HTTPStatus.FORBIDDEN,
                    "this socket only reads",
                    "write through the API socket, as root",
                )
            log.info(
                "write", method=environ["REQUEST_METHOD"], path=environ["PATH_INFO"], **_peer(connection)
            )
        if not self._free.acquire(blocking=False):
            return _refuse(
                start_response, HTTPStatus.SERVICE_UNAVAILABLE, "too many requests at once", "try again"
            )
        try:
            return list(self._rest(environ, start_response))
        finally:
            self._free.release()


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

    return app


def rest_app() -> tuple[Flask, Api]:
    """An empty REST application with the one error handler; blueprints are registered by the caller."""
    app = Flask("ciliate")
    app.config.update(
        API_TITLE="ciliate",
        API_VERSION="v1",
        OPENAPI_VERSION="3.0.3",
        OPENAPI_URL_PREFIX="/v1",
        OPENAPI_JSON_PATH="openapi.json",
        MAX_CONTENT_LENGTH=LARGEST_BODY,
    )
    api = Api(app)
    app.register_error_handler(CiliateError, _known)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unknown)
    return app, api


def _answer(status: int, error: str, path: str = "", hint: str = "") -> Response:
    body = json.dumps({"error": error, "path": path, "hint": hint})
    return Response(body, status, content_type="application/json")


def _known(error: CiliateError) -> Response:
    return _answer(error.status, error.message, error.path, error.hint)


def _http(error: HTTPException) -> Response:
    if isinstance(error, RequestEntityTooLarge):
        return _answer(413, f"the body is larger than {LARGEST_BODY >> 20} MiB", hint="split it into several")
    messages = getattr(error, "data", {}).get("messages", {})
    if messages:
        # webargs: {"query": {"wait": ["Not a valid number."]}}
        where, problems = next(iter(messages.items()))
        field, texts = next(iter(problems.items())) if isinstance(problems, dict) else ("", problems)
        return _answer(
            400, str(texts[0] if isinstance(texts, list) else texts), f"{where}.{field}".rstrip(".")
        )
    hints = {404: "see /v1/openapi.json for what there is", 405: "see /v1/openapi.json for the methods"}
    return _answer(
        error.code or 500, str(error.description or error.name), hint=hints.get(error.code or 0, "")
    )


def _unknown(error: Exception) -> Response:
    log.error("request failed", exc_info=error)
    return _answer(500, f"internal error: {type(error).__name__}: {error}", hint="see the agent's log")
