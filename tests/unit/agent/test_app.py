"""Which socket a request came in by decides what it may ask, and how many may ask at once."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, request
from flask.testing import FlaskClient

from agent.app import LARGEST_BODY, BySocket, plugin_app, rest_app
from model.errors import Conflict
from store.policies import OPERATOR

Answered = tuple[str, Any]


class Doors:
    """Three listening sockets and the application behind them. `gate` keeps requests to /slow."""

    def __init__(self, directory: Path) -> None:
        self.paths = {name: directory / f"{name}.sock" for name in ("plugin", "api", "ro")}
        self.gate = threading.Event()
        self.entered = threading.Semaphore(0)
        self.closed = 0
        rest = Flask("rest")

        @rest.route("/v1/thing", methods=["GET", "PUT"])
        def thing() -> dict[str, str]:
            return {"did": request.method}

        @rest.get("/slow")
        def slow() -> dict[str, str]:
            self.entered.release()
            assert self.gate.wait(10)
            return {"did": "slow"}

        self.app = BySocket(
            plugin_app(),
            rest,
            plugin_path=self.paths["plugin"],
            read_only_path=self.paths["ro"],
            at_once={self.paths["api"]: 2, self.paths["ro"]: 1},
        )
        self.listeners = {}
        for name, path in self.paths.items():
            self.listeners[name] = listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(path))
            listener.listen()

    def ask(self, door: str, method: str, path: str) -> Answered:
        """The status line and the JSON of an answer, asked through this door."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.paths[door]))
            with self.listeners[door].accept()[0] as connection:
                environ = {
                    "REQUEST_METHOD": method,
                    "PATH_INFO": path,
                    "SERVER_NAME": "x",
                    "SERVER_PORT": "0",
                    "wsgi.input": io.BytesIO(),
                    "wsgi.url_scheme": "http",
                    "gunicorn.socket": connection,
                }
                told: list[str] = []
                answer = self.app(environ, lambda status, *_: told.append(status))
                return told[0], json.loads(b"".join(answer))

    def close(self) -> None:
        self.gate.set()
        for listener in self.listeners.values():
            listener.close()


@pytest.fixture
def doors(tmp_path: Path) -> Iterator[Doors]:
    with closing(Doors(tmp_path)) as doors:
        yield doors


def test_docker_s_socket_speaks_docker_s_protocol_and_nothing_else(doors: Doors) -> None:
    assert doors.ask("plugin", "POST", "/Plugin.Activate") == (
        "200 OK",
        {"Implements": ["NetworkDriver", "IpamDriver"]},
    )
    for method, path in (("GET", "/v1/thing"), ("POST", "/VolumeDriver.Create"), ("GET", "/Plugin.Activate")):
        status, answer = doors.ask("plugin", method, path)
        assert status[:3] in ("404", "405")
        assert answer["Err"] == answer["Error"] == f"ciliate has no {method} {path}"


def test_the_api_s_sockets_know_nothing_of_docker(doors: Doors) -> None:
    for door in ("api", "ro"):
        with pytest.raises(json.JSONDecodeError):  # of a bare Flask, as this application is
            doors.ask(door, "GET", "/Plugin.Activate")


def test_the_group_s_socket_only_reads(doors: Doors) -> None:
    assert doors.ask("ro", "GET", "/v1/thing") == ("200 OK", {"did": "GET"})
    assert doors.ask("api", "PUT", "/v1/thing") == ("200 OK", {"did": "PUT"})
    for method in ("PUT", "POST", "PATCH", "DELETE", "CONNECT", "get", "ANYTHING"):
        status, answer = doors.ask("ro", method, "/v1/thing")
        assert status == "403 Forbidden"
        assert answer == {
            "error": "this socket only reads",
            "path": "",
            "hint": "write through the API socket, as root",
        }


def test_when_all_are_busy_the_next_is_told_so_and_docker_is_not_kept_waiting(doors: Doors) -> None:
    with ThreadPoolExecutor(2) as threads:
        busy = [threads.submit(doors.ask, "api", "GET", "/slow") for _ in range(2)]
        for _ in busy:
            assert doors.entered.acquire(timeout=10)
        assert doors.ask("api", "GET", "/v1/thing")[0] == "503 Service Unavailable"
        assert doors.ask("ro", "GET", "/v1/thing")[0] == "200 OK"
        assert doors.ask("plugin", "POST", "/Plugin.Activate")[0] == "200 OK"
        doors.gate.set()
        assert [ended.result(10)[1] for ended in busy] == [{"did": "slow"}] * 2
    assert doors.ask("api", "GET", "/v1/thing")[0] == "200 OK"


def test_a_request_that_fails_gives_its_place_back(doors: Doors) -> None:
    def failing(*_: Any) -> Any:
        raise RuntimeError

    doors.app._rest = failing
    for _ in range(5):
        with pytest.raises(RuntimeError):
            doors.ask("ro", "GET", "/v1/thing")


# The error handlers of the REST application.


@pytest.fixture
def client() -> FlaskClient:
    app, _ = rest_app()

    @app.put("/body")
    def body() -> dict[str, int]:
        return {"bytes": len(request.get_data())}

    def raising(error: Exception) -> Callable[[], Any]:
        def view() -> Any:
            raise error

        return view

    known = Conflict("it is there", path="name", hint="choose another")
    app.add_url_rule("/known", "known", raising(known))
    app.add_url_rule("/bug", "bug", raising(ZeroDivisionError("by nothing")))
    return app.test_client()


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("GET", "/known", 409, {"error": "it is there", "path": "name", "hint": "choose another"}),
        ("GET", "/bug", 500, {"error": "internal error: ZeroDivisionError: by nothing", "path": ""}),
        ("GET", "/nowhere", 404, {"path": "", "hint": "see /v1/openapi.json for what there is"}),
        ("GET", "/v1//known", 404, {"path": ""}),
        ("POST", "/known", 405, {"hint": "see /v1/openapi.json for the methods"}),
    ],
)
def test_every_error_has_the_same_form(
    client: FlaskClient, method: str, path: str, status: int, error: dict[str, str]
) -> None:
    answer = client.open(path, method=method)
    assert answer.status_code == status
    assert answer.json is not None and answer.json.keys() == {"error", "path", "hint"}
    assert {name: answer.json[name] for name in error} == error
    if status == 405:
        assert "GET" in answer.headers["Allow"]


def test_a_huge_body_is_not_read(client: FlaskClient) -> None:
    assert client.put("/body", data=bytes(LARGEST_BODY)).json == {"bytes": LARGEST_BODY}
    answer = client.put("/body", data=bytes(LARGEST_BODY + 1))
    assert (answer.status_code, answer.json) == (
        413,
        {"error": "the body is larger than 4 MiB", "path": "", "hint": "split it into several"},
    )


def test_the_store_is_asked_with_the_token_of_whoever_asks() -> None:
    app, _ = rest_app()

    @app.put("/v1/thing")
    def thing() -> dict[str, str]:
        return {"token": OPERATOR.get()}

    client = app.test_client()
    assert client.put("/v1/thing", headers={"X-Consul-Token": "s3cret"}).json == {"token": "s3cret"}
    assert client.put("/v1/thing").json == {"token": ""}, "nobody inherits it"
