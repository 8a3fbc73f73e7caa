"""Puts one question three times, by the rules, by the twin and to the programs in the kernel, and tells where the
answers differ."""

from __future__ import annotations

import time
from collections.abc import Iterable
from random import Random

from agent.verify_answers import Answers
from agent.verify_facts import Facts
from agent.verify_probes import Choice
from agent.verify_report import Disagreement, Meeting, Party, Probe, Report, Request
from datapath.dry import DryRun
from datapath.frames import Flow
from datapath.ruling import PASSES, Ruling
from driver.plan import GATEWAY_MAC

MOST_SHOWN = 100
"""Of the disagreements."""

FIRST_PORT = 1024
"""Each flow has its own port at the source."""

OPENING, ANSWER, LATE_ANSWER = "opening", "answer", "answer, judged anew"


class Comparison:
    """What is asked does not change what is answered later: each packet opens a flow of its own."""

    def __init__(self, facts: Facts, dry: DryRun) -> None:
        self._facts = facts
        self._dry = dry
        self._answers = Answers(facts)
        self._port = FIRST_PORT
        self._packets = 0

    def run(self, request: Request) -> Report:
        ends = time.monotonic() + request.seconds
        choice = self._choice(request.seed)
        wanted: Iterable[list[Probe]] = (
            [[probe] for probe in request.again]
            if request.again
            else choice.probes(request.pairs, request.packets)
        )
        found: list[Disagreement] = []
        self._packets = pairs = 0
        complete = True
        for probes in wanted:
            if time.monotonic() > ends:
                complete = False
                break
            pairs += 1
            for probe in probes:
                disagreement = self.compare(probe)
                if disagreement is not None:
                    found.append(disagreement)
            del found[MOST_SHOWN:]
        return Report(pairs, choice.pairs, self._packets, complete, tuple(found))

    def compare(self, probe: Probe) -> Disagreement | None:
        """None if all agree, or if there is no such packet."""
        meeting = self._answers.parties.meet(probe)
        if meeting is None:
            return None
        rules = self._answers.by_the_rules(meeting, probe.protocol, probe.port)
        twin = self._answers.by_the_twin(meeting, probe.protocol, probe.port)
        flow = self._new_flow(meeting, probe)
        kernel = self._sent(flow.opening(), meeting.source, meeting.destination, meeting.origin)
        if not rules == twin == kernel:
            return Disagreement(probe, OPENING, meeting, rules, twin, kernel)
        back = self._way_back(meeting)
        if not kernel.passes or not flow.has_answer or (back is None and not meeting.destination.container):
            return None
        for packet in (ANSWER, LATE_ANSWER):
            if packet == LATE_ANSWER:
                self._dry.advance()
            kernel = self._sent(flow.answer(), meeting.destination, meeting.source, back)
            if not kernel.passes:
                return Disagreement(probe, packet, meeting, PASSES, PASSES, kernel)
        return None

    def _choice(self, seed: int) -> Choice:
        answers = self._answers

        def documents_of(identity: int) -> list[str]:
            return [rule.document for rule in answers.rules_of(identity)]

        return Choice(self._facts, answers.parties, documents_of, Random(seed))

    def _new_flow(self, meeting: Meeting, probe: Probe) -> Flow:
        if self._port == 65535:
            self._port = FIRST_PORT
            self._dry.forget()
        self._port += 1
        ends = meeting.source.address, meeting.destination.address
        flow = Flow(*ends, probe.protocol, self._port, probe.port)
        self._dry.begin(flow)
        return flow

    def _sent(self, packet: bytes, source: Party, destination: Party, origin: int | None) -> Ruling:
        self._packets += 1
        if origin is None:
            assert source.container, "only a container sends by its own interface"
            return self._dry.send(packet, source.container.ifindex, source.container.mac, GATEWAY_MAC)
        assert destination.container, "the stack is asked for what it has for a container"
        container = destination.container
        return self._dry.receive(packet, container.ifindex, container.mac, GATEWAY_MAC, origin)

    def _way_back(self, meeting: Meeting) -> int | None:
        """A container answers by its own interface; a stranger's answer comes as its own packets do."""
        if meeting.destination.container:
            return None
        return self._answers.parties.origin(meeting.destination)
