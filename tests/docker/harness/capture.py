"""tcpdump as a context manager: what passed an interface while the block ran."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.docker.harness.sandbox import Sandbox, wait_until


@dataclass(frozen=True, slots=True)
class Capture:
    """`lines` of `tcpdump -nn -e -tt`, complete once the block has ended."""

    output: Path

    @property
    def lines(self) -> list[str]:
        return [line for line in self.output.read_text().splitlines() if line]

    @classmethod
    @contextmanager
    def on(cls, sandbox: Sandbox, interface: str, expression: str, namespace: str) -> Iterator[Capture]:
        """`namespace`: a name that `ip netns` knows, or "" for the host's own."""
        output = sandbox.directory / f"capture-{interface}"
        notes = sandbox.directory / f"capture-{interface}.notes"
        prefix = ["ip", "netns", "exec", namespace] if namespace else []
        with output.open("wb") as out, notes.open("wb") as err:
            command = [
                *prefix,
                "tcpdump",
                "-nn",
                "-e",
                "-tt",
                "-l",
                "--immediate-mode",
                "-i",
                interface,
                expression,
            ]
            process = subprocess.Popen(
                sandbox.command(*(word for word in command if word)),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        try:
            wait_until(lambda: "listening on" in notes.read_text(), f"tcpdump listens on {interface}")
            yield cls(output)
        finally:
            wait_until(_still(output), "the capture has written all that it saw", pause=0.2)
            pids = sandbox.run("pgrep", "-x", "-f", f"tcpdump .*-i {interface}.*", check=False).out.split()
            for pid in pids:
                sandbox.kill(int(pid), signal.SIGTERM)
            process.wait(10)


def _still(output: Path) -> Callable[[], bool]:
    """Has it not grown between two looks? tcpdump loses what it has not read when it is told to end."""
    seen = [-1]

    def look() -> bool:
        seen.append(output.stat().st_size)
        return seen[-1] == seen[-2]

    return look
