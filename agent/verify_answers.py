"""PURE. What must become of a packet: once by the rules themselves, once by the lookup in map entries that are made of
them anew. What networks forbid comes before either and is the same for both."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from agent.state import RESERVED
from agent.verify_facts import Container, Facts
from agent.verify_parties import Parties
from agent.verify_report import Meeting, Party
from datapath.abi import EndpointFlag
from datapath.frames import UDP
from datapath.ruling import PASSES, Ruling
from datapath.tables import Routing
from identity.cidr import CidrIdentities
from model.flow import Direction, DropReason
from model.identity import Reserved, is_local
from policy.decide import decide
from policy.mapstate import map_states
from policy.oracle import Verdict, selecting, verdict
from policy.repository import Repository
from policy.resolve import resolve_each
from policy.rule import Rule
from policy.schema import load_rules
from policy.selections import Selections

_REASONS = {
    Verdict.ALLOWED: DropReason.NONE,
    Verdict.DENIED: DropReason.POLICY_DENIED,
    Verdict.DENIED_BY_RULE: DropReason.POLICY_DENY_RULE,
    Verdict.AUDITED: DropReason.POLICY_DENIED,
    Verdict.AUDITED_BY_RULE: DropReason.POLICY_DENY_RULE,
}

_HOSTS = frozenset({Reserved.HOST, Reserved.REMOTE_NODE})
_WORLD = frozenset({Reserved.WORLD, Reserved.WORLD_IPV4, Reserved.WORLD_IPV6})


class Answers:
    def __init__(self, facts: Facts) -> None:
        in_force, audited = (
            load_rules([json.loads(document) for document in documents])
            for documents in (facts.rules, facts.audited)
        )
        repository = Repository(in_force).set_named("audited", audited, audit=True)
        self._rules = repository.rules()
        wanted = {
            prefix
            for rule in self._rules
            for selector in rule.cidr_selectors()
            for prefix in selector.prefixes()
        }
        cidrs, prefixes, _ = CidrIdentities().with_prefixes(wanted)
        self.parties = Parties(facts, cidrs)
        self._node = facts.node
        self._labels, self._modes = self.parties.labels, facts.modes
        policies = resolve_each(
            repository, {number: (self._labels[number], mode) for number, mode in facts.modes.items()}
        )
        selectors = {selector for policy in policies.values() for selector in policy.selectors}
        selections = Selections().with_identities({**RESERVED, **self._labels, **prefixes}).only(selectors)
        self._maps = map_states(policies, selections.select)
        self._selecting: dict[int, list[Rule]] = {}

    def by_the_rules(self, meeting: Meeting, protocol: int, port: int) -> Ruling:
        def said(end: _End) -> _Word:
            identity = end.container.identity
            rules, mode = self.rules_of(identity), self._modes[identity]
            labels = end.subject.labels, end.peer.labels
            found = verdict(rules, mode, *labels, end.direction, protocol, port)
            return _Word(_REASONS[found], audited=found.passes)

        return self._judged(meeting, said, protocol, port)

    def by_the_twin(self, meeting: Meeting, protocol: int, port: int) -> Ruling:
        def said(end: _End) -> _Word:
            entries = self._maps[end.container.identity]
            decision = decide(entries, end.peer.identity, end.direction, protocol, port)
            if decision.allowed and not decision.audited:
                return _Word(DropReason.NONE)
            reason = DropReason.POLICY_DENY_RULE if decision.deny_rule else DropReason.POLICY_DENIED
            return _Word(reason, audited=decision.audited)

        return self._judged(meeting, said, protocol, port)

    def _judged(self, meeting: Meeting, said: Callable[[_End], _Word], protocol: int, port: int) -> Ruling:
        is_tunnels = protocol == UDP and 0 < port == self._node.port
        if is_tunnels and meeting.origin is None and meeting.destination.identity in _HOSTS:
            return Ruling(DropReason.ENCAP_PROHIBITED, Direction.EGRESS)
        ruling = _forbidden(meeting) or _of_both(meeting, said)
        leaves = meeting.origin is None and meeting.destination.is_elsewhere
        if leaves and ruling.passes and not (self._node.routing is Routing.NATIVE or self._node.tunnel):
            return Ruling(DropReason.NO_TUNNEL, Direction.EGRESS)
        return ruling

    def rules_of(self, identity: int) -> list[Rule]:
        """Those that select it, by the rules themselves."""
        if identity not in self._selecting:
            self._selecting[identity] = selecting(self._rules, self._labels[identity])
        return self._selecting[identity]


@dataclass(frozen=True, slots=True)
class _Word:
    """Of one end's policy. `audited`: only audited rules deny it, if anything does."""

    reason: DropReason
    audited: bool = False


@dataclass(frozen=True, slots=True)
class _End:
    """Whose rules are asked, and about whom."""

    subject: Party
    container: Container
    peer: Party
    direction: Direction


def _ends(meeting: Meeting) -> Iterator[_End]:
    """In the order in which they are asked."""
    source, destination = meeting.source, meeting.destination
    if source.container:
        yield _End(source, source.container, destination, Direction.EGRESS)
    if destination.container:
        yield _End(destination, destination.container, source, Direction.INGRESS)


def _of_both(meeting: Meeting, said: Callable[[_End], _Word]) -> Ruling:
    """The first end that refuses decides; the refusal of one in audit mode, or of audited rules, is only noted, the
    first such one."""
    noted = PASSES
    for end in _ends(meeting):
        word = said(end)
        if word.reason is DropReason.NONE:
            continue
        if not word.audited and EndpointFlag.AUDIT not in end.container.flags:
            return Ruling(word.reason, end.direction)
        if noted is PASSES:
            noted = Ruling(word.reason, end.direction, audited=True)
    return noted


def _forbidden(meeting: Meeting) -> Ruling | None:
    """What no rule can allow, and whose program says so."""
    source, destination = meeting.source, meeting.destination
    here = Direction.EGRESS if meeting.origin is None else Direction.INGRESS
    if destination.identity == Reserved.UNKNOWN:
        return Ruling(DropReason.UNKNOWN_DESTINATION, here)
    separate = source.network and destination.network and source.network != destination.network
    if separate and not meeting.published:
        return Ruling(DropReason.NETWORKS_SEPARATE, here)
    for one, other in ((source, destination), (destination, source)):
        if one.identity == Reserved.INIT and other.is_elsewhere and not meeting.published:
            return Ruling(DropReason.INIT_STAYS, here)
    for own, peer in ((source, destination), (destination, source)):
        reason = _banned(own.container, peer, published=meeting.published)
        if reason is not None:
            return Ruling(reason, here)
    return None


def _banned(container: Container | None, peer: Party, *, published: bool) -> DropReason | None:
    flags = container.flags if container else EndpointFlag(0)
    if EndpointFlag.NO_HOST in flags and peer.identity == Reserved.HOST:
        return DropReason.HOST_FORBIDDEN
    outside = peer.identity in _WORLD or is_local(peer.identity) or peer.identity == Reserved.UNMANAGED
    if EndpointFlag.NO_WORLD in flags and outside:
        return DropReason.WORLD_FORBIDDEN
    alike = container and container.network == peer.network
    if EndpointFlag.NO_CONTAINERS in flags and alike and not published:
        return DropReason.CONTAINERS_FORBIDDEN
    return None
