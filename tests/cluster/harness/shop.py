"""A shop on every node, and the traffic that goes on in it while something breaks.

Each node `x` has `web-x` (app=web), `good-x` (role=ok) and `bad-x` (role=no) on the spanning network `shop`; rules let
role=ok alone reach app=web. Every good keeps a TCP connection to the web of the next node and knocks at it, and every
bad knocks too: what these print is what a failure did to them."""

from __future__ import annotations

import itertools
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.harness.bed import Bed
from tests.cluster.harness.node import Node
from tests.docker.harness.rules import allow, selector

NETWORK = "shop"

SPANNING = ("--ipv6", "-o", f"ciliate.network={NETWORK}")

RULE = allow(selector(app="web"), selector(role="ok"))

PATIENCE = 120
"""Seconds that a kept connection waits for an answer: a cut ends none of them."""


def open_shop(bed: Bed) -> None:
    bed.each(open_at)
    bed.policy(RULE)


def open_at(node: Node) -> None:
    node.network(NETWORK, *SPANNING)
    always = ("--network", NETWORK, "--restart", "always")
    node.serve(f"web-{node.name}", *always, "-l", "app=web")
    node.caller(f"good-{node.name}", *always, "-l", "role=ok")
    node.caller(f"bad-{node.name}", *always, "-l", "role=no")


@dataclass(frozen=True, slots=True)
class Line:
    at: float
    answer: str


@dataclass(frozen=True, slots=True)
class Stream:
    """What one container says while it runs: `who` does `what` (hold or knock) to the web of node `to`."""

    who: Node
    what: str
    good: bool
    to: Node
    log: Path
    process: subprocess.Popen[bytes]

    def lines(self, since: float = 0.0) -> list[Line]:
        """Those of `time.monotonic()` later than `since`."""
        text = self.log.read_text()
        split = (line.partition(" ") for line in text[: text.rfind("\n") + 1].splitlines())
        return [Line(float(at), answer) for at, _, answer in split if float(at) > since]

    def answers(self, since: float = 0.0) -> int:
        return sum(bool(line.answer) for line in self.lines(since))

    def __str__(self) -> str:
        kind = "good" if self.good else "bad"
        return f"{kind}-{self.who.name} {self.what} web-{self.to.name}"


class Traffic:
    def __init__(self, streams: Sequence[Stream]) -> None:
        self.streams = tuple(streams)

    @classmethod
    @contextmanager
    def between(cls, bed: Bed) -> Iterator[Traffic]:
        """Runs until the block ends."""
        streams: list[Stream] = []
        nodes = bed.nodes
        try:
            for who, to in zip(nodes, (*nodes[1:], nodes[0]), strict=True):
                web = to.address(f"web-{to.name}", NETWORK)
                streams.append(_start(who, "hold", True, to, (web, "80", str(PATIENCE))))
                streams.append(_start(who, "knock", True, to, (web, "80")))
                streams.append(_start(who, "knock", False, to, (web, "80")))
            traffic = cls(streams)
            traffic.flows(time.monotonic())
            yield traffic
        finally:
            for stream in streams:
                stream.who.sandbox.end(stream.process)

    def held(self) -> list[Stream]:
        return [stream for stream in self.streams if stream.what == "hold"]

    def opened(self) -> list[str]:
        """Denied streams that got an answer."""
        return [str(stream) for stream in self.streams if not stream.good and stream.answers()]

    def lost(self, without: Node | None = None) -> list[str]:
        """Kept connections that ended, but those of the node `without`."""
        return [
            str(stream)
            for stream in self.held()
            if stream.process.poll() is not None and without not in (stream.who, stream.to)
        ]

    def flows(self, since: float, seconds: float = 20.0) -> float:
        """Waits until every good stream has been answered after `since`; seconds from then to the last one's first."""
        good = [stream for stream in self.streams if stream.good]

        def silent() -> list[str]:
            return [str(stream) for stream in good if not stream.answers(since)]

        deadline = time.monotonic() + seconds
        while silent():
            assert time.monotonic() < deadline, f"no answer for {seconds:g} s: {', '.join(silent())}"
            time.sleep(0.05)
        return max(next(line.at for line in s.lines(since) if line.answer) for s in good) - since

    def gap(self, since: float) -> float:
        """The longest time without an answer that a good knock has seen since then."""
        longest = 0.0
        for stream in self.streams:
            if stream.good and stream.what == "knock":
                times = [since, *(line.at for line in stream.lines(since) if line.answer), time.monotonic()]
                longest = max(longest, *(b - a for a, b in itertools.pairwise(times)))
        return longest


def _start(who: Node, what: str, good: bool, to: Node, arguments: Sequence[str]) -> Stream:
    container = f"{'good' if good else 'bad'}-{who.name}"
    log = who.sandbox.directory / f"{container}-{what}"
    with log.open("wb") as output:
        command = ("docker", "exec", container, "python3", "/speaker.py", what, *arguments)
        process = who.sandbox.start(*command, log=output)
    return Stream(who, what, good, to, log, process)
