"""Verifies on this node that rules, the twin of the lookup and the programs in the kernel agree: hands a child what is
in force, and takes its report.

The node goes on meanwhile. So what differed is asked about again, and counts only if it differs twice with nothing
changed in between."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import structlog

from agent.events import Event, SlotsWanted
from agent.loop import Loop
from agent.state import State
from agent.verify_facts import Facts, facts_of
from agent.verify_report import Disagreement, Party, Report, Request
from datapath.tables import NodeEntry
from model.errors import Unavailable

log = structlog.get_logger("verify")

STARTING_SECONDS = 60.0
"""For the child to begin, which takes longest where programs have to be compiled."""

_ATTEMPTS = 5

_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}


class Verification:
    """`root`: where the datapath is pinned. `cache`: compiled programs. `node`: as the programs know it."""

    def __init__(
        self, loop: Loop[State, Event], root: Path, cache: Path, node: Callable[[], NodeEntry]
    ) -> None:
        self._loop = loop
        self._node = node
        self._command = [sys.executable, "-m", "agent.verify_run", "--root", str(root), "--cache", str(cache)]
        self._busy = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._closed = False

    def run(self, pairs: int, seconds: float, seed: int | None = None) -> dict[str, Any]:
        """`pairs` 0: all; `seed` None: any. One at a time: Unavailable for a second one, and where rules or containers
        change all the time."""
        if not self._busy.acquire(blocking=False):
            raise Unavailable("another verification is running", hint="try again when it has ended")
        try:
            return self._run(Request(pairs, seconds, Random().getrandbits(32) if seed is None else seed))
        finally:
            self._busy.release()

    def close(self) -> None:
        """Ends one that is running."""
        self._closed = True
        if self._child is not None:
            self._child.kill()

    def _run(self, request: Request) -> dict[str, Any]:
        state = self._loop.state
        first = self._ask(facts_of(state, self._node()), request)
        report = first
        for _ in range(_ATTEMPTS):
            if not report.disagreements:
                break
            before = self._settled()
            again = tuple(dict.fromkeys(each.probe for each in report.disagreements))
            report = self._ask(facts_of(before, self._node()), replace(request, again=again))
            if self._settled() is before and report.disagreements:
                break
        else:
            raise Unavailable(
                "rules or containers changed each time that something was asked again",
                hint="try again when the node is quieter",
            )
        disagreements = [_told(each) for each in report.disagreements]
        if disagreements:
            log.error("rules and kernel disagree", packets=len(disagreements), first=disagreements[0])
        return {
            "endpoints": len(state.endpoints),
            "rules": len(state.repository.rules()),
            "pairs": first.pairs,
            "of": first.of,
            "packets": first.packets,
            "complete": first.complete,
            "seed": request.seed,
            "disagreements": disagreements,
        }

    def _settled(self) -> State:
        """The state in force, once everything that was begun before is in the kernel."""
        self._loop.call(SlotsWanted())
        return self._loop.state

    def _ask(self, facts: Facts, request: Request) -> Report:
        child = self._child = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            if self._closed:
                raise Unavailable("the agent is stopping")
            said, complaint = child.communicate(
                pickle.dumps((facts, request)), timeout=STARTING_SECONDS + request.seconds
            )
        except subprocess.TimeoutExpired:
            raise Unavailable(
                "the verification has not ended in time", hint="ask about fewer pairs"
            ) from None
        finally:
            child.kill()
            child.wait()
            self._child = None
        if child.returncode:
            words = complaint.decode(errors="replace").strip().splitlines()
            reason = words[-1] if words else f"its process ended with {child.returncode}"
            raise Unavailable(f"the verification failed: {reason}", hint="see the agent's log")
        report: Report = pickle.loads(said)
        return report


def _told(found: Disagreement) -> dict[str, Any]:
    probe, meeting = found.probe, found.meeting
    return {
        "source": _party(meeting.source),
        "destination": _party(meeting.destination),
        "protocol": _PROTOCOLS.get(probe.protocol, str(probe.protocol)),
        "port": probe.port,
        "published": probe.published,
        "packet": found.packet,
        "rules": str(found.rules),
        "twin": str(found.twin),
        "kernel": str(found.kernel),
    }


def _party(party: Party) -> Mapping[str, Any]:
    container = party.container
    return {
        "endpoint": container.id if container else 0,
        "name": container.name if container else "",
        "address": str(party.address),
        "identity": party.identity,
        "labels": party.labels.texts(),
    }
