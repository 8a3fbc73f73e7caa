"""An agent that answers from a table, over a real unix socket; and `ciliate` run against it."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from cli.main import run
from model.errors import CiliateError


@dataclass
class CannedAgent:
    """`answers`: (method, path) -> (status, JSON, or bytes as they are, or what makes it of query and body; if that
    raises a CiliateError, it is answered). What is asked is in `requests`, with its `headers`."""

    socket: Path
    answers: dict[tuple[str, str], tuple[int, Any]] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, list[str]], Any]] = field(default_factory=list)

    headers: list[dict[str, str]] = field(default_factory=list)

    def on(self, method: str, path: str, answer: Any, status: int = 200) -> None:
        self.answers[method, path] = (status, answer)


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    agent: CannedAgent


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def _answer(self) -> None:
        target = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        self.server.agent.headers.append(dict(self.headers))
        self.server.agent.requests.append((self.command, target.path, parse_qs(target.query), body))
        missing = (404, {"error": "no such path", "path": "", "hint": ""})
        status, answer = self.server.agent.answers.get((self.command, target.path), missing)
        if callable(answer):
            try:
                answer = answer(parse_qs(target.query), body)
            except CiliateError as error:
                status, answer = (
                    error.status,
                    {"error": error.message, "path": error.path, "hint": error.hint},
                )
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _answer

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: the output under test is the command's."""


def _serve(path: Path) -> tuple[_Server, CannedAgent]:
    server = _Server(str(path), _Handler)
    server.agent = CannedAgent(path)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server, server.agent


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[CannedAgent]:
    server, canned = _serve(tmp_path / "api.sock")
    yield canned
    server.shutdown()
    server.server_close()


@pytest.fixture
def observer(tmp_path: Path) -> Iterator[CannedAgent]:
    server, canned = _serve(tmp_path / "observe.sock")
    yield canned
    server.shutdown()
    server.server_close()


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str


Ciliate = Callable[..., Ran]


@pytest.fixture
def ciliate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Ciliate:
    """Runs one command line against the sockets in `tmp_path`."""

    def command(*arguments: str) -> Ran:
        status = run(["--run-dir", str(tmp_path), *arguments])
        return Ran(status, *capsys.readouterr())

    return command
