"""A way from a sandbox to the package registries that this machine reaches, for stories that install something.

`Relay` is a small HTTP proxy here, listening on a unix socket in the sandbox's directory; carrier.py, run inside,
carries loopback connections to it. apt and pip are told to use it; nothing else is carried."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

from tests.docker.harness.carrier import join
from tests.docker.harness.sandbox import Sandbox, wait_until

PORT = 3128

CARRIER = Path(__file__).with_name("carrier.py")


async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection: CONNECT for https, else one request with a whole address, answered with `Connection: close`."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        line, _, fields = head.partition(b"\r\n")
        method, address, _ = line.decode().split(" ")
        if method == "CONNECT":
            host, _, port = address.rpartition(":")
            there = await asyncio.open_connection(host, int(port))
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            url = urlsplit(address)
            there = await asyncio.open_connection(url.hostname, url.port or 80)
            target = url.path + (f"?{url.query}" if url.query else "")
            kept = [
                field
                for field in fields.split(b"\r\n")
                if field and not field.lower().startswith(b"connection")
            ]
            lines = [f"{method} {target} HTTP/1.1".encode(), *kept, b"Connection: close", b"", b""]
            there[1].write(b"\r\n".join(lines))
    except (OSError, ValueError, asyncio.IncompleteReadError) as error:
        writer.write(f"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\n\r\n{error}\n".encode())
        writer.close()
        return
    await join((reader, writer), there)


class Relay:
    """A context: while it lasts, apt-get and pip work in the sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._path = sandbox.directory / "relay.sock"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_unix_server(proxy, self._path))
        self._loop.run_forever()
        server.close()

    def __enter__(self) -> None:
        self._thread.start()
        wait_until(self._path.exists, "the relay listens")
        address = f"http://127.0.0.1:{PORT}"
        self._sandbox.path("/etc/apt/apt.conf.d/zz-relay").write_text(
            f'Acquire::http::Proxy "{address}";\nAcquire::https::Proxy "{address}";\n'
        )
        self._sandbox.environment["PIP_PROXY"] = address
        self._carrier = self._sandbox.start("/usr/bin/python3", CARRIER, str(self._path), str(PORT))
        listening = f":{PORT:04X} "
        wait_until(
            lambda: listening in self._sandbox.path("/proc/1/net/tcp").read_text(), "the carrier listens"
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._carrier.kill()
        self._carrier.wait()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
