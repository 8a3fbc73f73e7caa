"""An engine's API on a unix socket: HTTP by hand, answers from a table, and a switch that makes it freeze as dockerd
does while it starts its containers (it accepts connections and answers nothing)."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

VERSION = "1.41"


class Engine:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = path.parent / "docker"
        self.networks: dict[str, Any] = {}
        self.containers: list[dict[str, Any]] = []
        self.images: dict[str, Any] = {}
        self.asked: list[str] = []
        self.thaw = threading.Event()
        self.thaw.set()
        self.end_streams = threading.Event()
        self._server: ThreadingUnixStreamServer | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    def start(self) -> None:
        self.end_streams.clear()
        engine = self

        class Handler(_Handler):
            api = engine

        class Server(ThreadingUnixStreamServer):
            daemon_threads = True

        self._server = Server(str(self.path), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        assert self._server is not None
        self.end_streams.set()
        self._server.shutdown()
        self._server.server_close()
        self.path.unlink()

    def add(self, name: str, endpoint: str, network: str, labels: dict[str, str], image: str = "im") -> None:
        """A container that is about to join."""
        self.containers.append(
            {"Id": f"id-{name}", "Names": [f"/{name}"], "ImageID": image, "Labels": labels}
        )
        members = self.networks.setdefault(network, {"Id": network, "Name": network, "Containers": {}})
        members["Containers"][f"ep-{endpoint}"] = {"Name": name, "EndpointID": endpoint}
        self.images.setdefault(image, {"Config": {"Labels": {}}, "RepoDigests": []})

    def answer(self, path: str, query: dict[str, list[str]]) -> Any:
        """None: not found."""
        words = path.strip("/").split("/")
        if words[0].startswith("v1."):
            words = words[1:]
        match words:
            case ["version"]:
                return {"ApiVersion": VERSION, "Version": "20.10.24"}
            case ["info"]:
                return {"ServerVersion": "20.10.24", "DockerRootDir": str(self.root)}
            case ["networks"]:
                return list(self.networks.values())
            case ["networks", number]:
                return self.networks.get(number)
            case ["images", number, "json"]:
                return self.images.get(number)
            case ["containers", "json"]:
                filters = json.loads(query.get("filters", ["{}"])[0])
                names = filters.get("name", [])
                return [c for c in self.containers if not names or f"^{c['Names'][0]}$" in names]
        return None


class _Handler(BaseHTTPRequestHandler):
    api: Engine
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.api.asked.append(parts.path)
        self.api.thaw.wait(20)
        if parts.path.endswith("/_ping"):
            self._send(b"OK", "text/plain")
        elif parts.path.endswith("/events"):
            self._stream()
        else:
            found = self.api.answer(parts.path, parse_qs(parts.query))
            status = 200 if found is not None else 404
            body = found if found is not None else {"message": "no such thing"}
            self._send(json.dumps(body).encode(), "application/json", status)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:
        """A test is quiet."""

    def _send(self, body: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        event = json.dumps({"Type": "network", "Action": "connect", "Actor": {"ID": "n"}}).encode() + b"\n"
        self.wfile.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
        self.wfile.flush()
        self.api.end_streams.wait(30)
        self.close_connection = True
