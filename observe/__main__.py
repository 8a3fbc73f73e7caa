"""`ciliate-observe`: the only reader of the datapath's events, in a process of its own, so that no flood of them
ever delays a call of Docker's."""

from __future__ import annotations

import observe.lean  # noqa: F401  # isort: skip

import argparse
import asyncio
import fcntl
import grp
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO

from model.errors import CiliateError
from observe.exchange import Exchanges
from observe.feed import Feed
from observe.metrics import Metrics
from observe.pipeline import Pipeline
from observe.serve import Flows, serve_metrics
from observe.source import KernelSource, Source

KEPT = 4096
"""Flows in memory: about 4 MB."""

RETRY = 0.5
"""Seconds between two looks for the datapath, and for the end of a predecessor."""

GROUP = "ciliate"
"""May read flows, if such a group exists."""


class Observer:
    """Owns the parts; `metrics_addr` as `parse_address` gives it, None: no metrics over TCP."""

    def __init__(self, run_dir: Path, metrics_addr: tuple[str, int] | None) -> None:
        self._run_dir = run_dir
        self._metrics_addr = metrics_addr
        self._feed = Feed(KEPT)
        self._metrics = Metrics()
        self._pipeline = Pipeline(self._feed, self._metrics, run_dir / "api-ro.sock")
        self._waiting_for = "the datapath"
        self._metrics_state = "off"

    def health(self) -> dict[str, object]:
        return {
            "status": f"waiting for {self._waiting_for}" if self._waiting_for else "ok",
            "seen": sum(self._metrics.flows.values()),
            "kept": min(self._feed.ring.written, KEPT),
            "lost": dict(self._metrics.lost),
            "names": "the agent does not answer" if self._pipeline.asker.failing else "ok",
            "metrics": self._metrics_state,
        }

    async def run(self, open_source: Callable[[], Source]) -> None:
        """Until cancelled or orphaned."""
        exchanges = Exchanges()
        flows = exchanges.serve(Flows(self._feed, self._metrics, self.health))
        path = self._run_dir / "observe.sock"
        parent = os.getppid()
        await asyncio.start_unix_server(flows, sock=_listen(path))
        await self._serve_metrics(exchanges)
        working = {
            asyncio.create_task(self._pipeline.asker.run()),
            asyncio.create_task(self._follow(open_source)),
        }
        try:
            while os.getppid() == parent:
                ended, _ = await asyncio.wait(working, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
                for task in ended:
                    task.result()
        finally:
            path.unlink(missing_ok=True)

    async def _follow(self, open_source: Callable[[], Source]) -> None:
        """Reads one datapath after the other."""
        while True:
            try:
                source = open_source()
            except (CiliateError, OSError) as error:
                self._wait_for(f"the datapath: {getattr(error, 'message', error)}")
                await asyncio.sleep(RETRY)
                continue
            self._wait_for("")
            await self._pipeline.run(source)

    def _wait_for(self, what: str) -> None:
        if what and what != self._waiting_for:
            _log(f"waiting for {what}")
        self._waiting_for = what

    async def _serve_metrics(self, exchanges: Exchanges) -> None:
        """A port that is taken is no reason to see no flows: it is told, and in the health."""
        if self._metrics_addr is None:
            return
        host, port = self._metrics_addr
        handler = exchanges.serve(partial(serve_metrics, self._metrics))
        try:
            await asyncio.start_server(handler, host, port)
        except OSError as error:
            self._metrics_state = f"not served: {error.strerror}"
            _log(f"no metrics at {host}:{port}: {error.strerror}")
        else:
            self._metrics_state = f"{host}:{port}"


def _log(text: str) -> None:
    print(f"ciliate-observe: {text}", file=sys.stderr, flush=True)


def _listen(path: Path) -> socket.socket:
    """A socket for the group from its first instant on."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o117)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    with suppress(KeyError, PermissionError):
        os.chown(path, -1, grp.getgrnam(GROUP).gr_gid)
    return listener


def _claim(run_dir: Path) -> IO[str]:
    """The ring buffer has one reader. A predecessor whose parent has died ends within a second."""
    lock = (run_dir / "observe.lock").open("w")
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(RETRY)
        else:
            return lock


def parse_address(text: str) -> tuple[str, int] | None:
    """`127.0.0.1:9965`, `[::1]:9965`, or `off`."""
    if text == "off":
        return None
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isdecimal() and int(port) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is neither host:port nor off")
    return host.strip("[]"), int(port)


async def _until_told_to_end(work: Callable[[], Awaitable[None]]) -> None:
    task = asyncio.ensure_future(work())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await task


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        "ciliate-observe", description="Serves the flows that the datapath tells."
    )
    parser.add_argument("--bpf-root", type=Path, default=Path("/sys/fs/bpf/ciliate"), help="the pins")
    parser.add_argument("--run-dir", type=Path, default=Path("/run/ciliate"), help="the sockets")
    parser.add_argument("--metrics-addr", type=parse_address, default="127.0.0.1:9965", help="or off")
    given = parser.parse_args(arguments)
    given.run_dir.mkdir(parents=True, exist_ok=True)
    with _claim(given.run_dir):
        observer = Observer(given.run_dir, given.metrics_addr)
        asyncio.run(_until_told_to_end(lambda: observer.run(partial(KernelSource, given.bpf_root))))


if __name__ == "__main__":
    main()
