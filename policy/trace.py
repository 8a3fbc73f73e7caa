"""What the rules say about one packet, rule by rule and in words. PURE.

It reads the parsed rules, element by element; `entry` is what the map says, by the datapath's own lookup. Tests
hold both to the oracle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from model.flow import Direction
from model.labels import Labels
from policy.decide import Decision, decide
from policy.mapstate import map_state
from policy.narrowing import Required, narrowed, network_of, required
from policy.oracle import Verdict
from policy.repository import Repository
from policy.resolve import Enforcement, enforced, not_audited, resolve
from policy.rule import Element, Rule
from policy.wording import element_text, missed, misses, place_text, rule_text, selector_text, services_text


@dataclass(frozen=True, slots=True)
class Packet:
    """`port`: the destination's; ICMP: the type."""

    direction: Direction
    protocol: int
    port: int

    def __str__(self) -> str:
        return place_text(self.protocol, self.port, self.port)


@dataclass(frozen=True, slots=True)
class Reading:
    """One element of a rule. `path`: where it stands in it, `ingress[0]`. The whys say what matched, or why not."""

    path: str
    says: str
    denies: bool
    peer: bool
    peer_why: str
    port: bool
    port_why: str

    @property
    def matches(self) -> bool:
        return self.peer and self.port


@dataclass(frozen=True, slots=True)
class RuleReading:
    """`number`: its place in `ciliate policy get`. `name`: of its set; empty for rules without. A rule that does not
    select the subject has no readings, and `why` says what it lacks."""

    number: int
    name: str
    rule: Rule
    selects: bool
    why: str
    readings: tuple[Reading, ...]

    def __str__(self) -> str:
        return rule_text(self.number, self.name, self.rule)


@dataclass(frozen=True, slots=True)
class Side:
    """One end's view. `rules`: those that select it and speak of this direction; in a full trace, also those that do
    not select it. `others`: how many were left out. `entry`: the lookup in the map that the rules make. What audited
    rules say is read as if they were in force; what the others say only where that is what is reported."""

    verdict: Verdict
    reason: str
    enforced: bool
    rules: tuple[RuleReading, ...]
    others: int
    entry: Decision

    @property
    def is_allowed(self) -> bool:
        """It passes, be it reported or not."""
        return self.verdict.passes

    @property
    def is_audited(self) -> bool:
        """It passes because those who deny it are audited."""
        return self.verdict in (Verdict.AUDITED, Verdict.AUDITED_BY_RULE)

    @property
    def agrees(self) -> bool:
        """Do the rules as read here and the map say the same?"""
        by_rule = self.verdict in (Verdict.DENIED_BY_RULE, Verdict.AUDITED_BY_RULE)
        said = (self.is_allowed, by_rule, self.is_audited)
        return said == (self.entry.allowed, self.entry.deny_rule, self.entry.audited)


def trace(
    repository: Repository,
    mode: Enforcement,
    subject: Labels,
    peer: Labels,
    number: int,
    packet: Packet,
    *,
    full: bool = False,
) -> Side:
    """`subject`: whose rules they are. `number`: the peer's identity, not 0."""
    policy = resolve(repository, subject, mode=mode)
    entries = map_state(policy, lambda selector: (number,) if selector.matches(peer) else ())
    entry = decide(entries, number, packet.direction, packet.protocol, packet.port)
    if mode is Enforcement.NEVER:
        reason = "enforcement is `never`: rules are ignored"
        return Side(Verdict.ALLOWED, reason, False, (), len(repository.rules()), entry)
    rules = repository.selecting(subject)
    in_force = not_audited(rules)
    read = _read_all(repository, in_force, subject, peer, packet)
    closed = packet.direction in enforced(in_force, subject, mode)
    said = [one for one in _telling(read, packet) if not one.rule.is_audited]
    verdict, reason = _judge(said, closed, mode, packet.direction)
    if len(in_force) != len(rules):
        as_if = _read_all(repository, rules, subject, peer, packet)
        would, why = _judge(
            _telling(as_if, packet),
            packet.direction in enforced(rules, subject, mode),
            mode,
            packet.direction,
        )
        if verdict is Verdict.ALLOWED and would in _REPORTED:
            verdict, reason, read = _REPORTED[would], why, as_if
        elif would is Verdict.ALLOWED and any(one.rule.is_audited for one in _telling(as_if, packet)):
            reason += "; it would pass with the audited rules, too" if verdict.passes else AUDITED_IN_VAIN
        read = [other if one.rule.is_audited else one for one, other in zip(read, as_if, strict=True)]
    telling = _telling(read, packet)
    shown = tuple(one for one in read if one in telling or not one.selects) if full else tuple(telling)
    return Side(verdict, reason, closed, shown, len(read) - len(shown), entry)


AUDITED_IN_VAIN = "; with the audited rules it would pass, but while audited they allow nothing"

_REPORTED = {Verdict.DENIED: Verdict.AUDITED, Verdict.DENIED_BY_RULE: Verdict.AUDITED_BY_RULE}


def _read_all(
    repository: Repository, selecting: tuple[Rule, ...], subject: Labels, peer: Labels, packet: Packet
) -> list[RuleReading]:
    """Each rule, as it reads where `selecting` are in force."""
    view = _View(peer, packet, required(selecting), network_of(selecting, subject))
    return [_read(*one, subject, view) for one in numbered(repository)]


def _telling(read: list[RuleReading], packet: Packet) -> list[RuleReading]:
    """Those that select the subject and are about the direction."""
    return [
        one for one in read if one.selects and (one.readings or packet.direction in one.rule.default_deny)
    ]


def numbered(repository: Repository) -> Iterator[tuple[int, str, Rule]]:
    """In the order of `repository.rules()`."""
    named = [(name, rule) for name in sorted(repository.named) for rule in repository.named[name]]
    for number, (name, rule) in enumerate([*(("", rule) for rule in repository.unnamed), *named]):
        yield number, name, rule


@dataclass(frozen=True, slots=True)
class _View:
    """What all rules that select a subject are read against. `demands` and `network` are those of policy.narrowing."""

    peer: Labels
    packet: Packet
    demands: Required
    network: str | None


def _read(number: int, name: str, rule: Rule, subject: Labels, view: _View) -> RuleReading:
    why = missed(rule.subject, subject)
    if why:
        return RuleReading(number, name, rule, False, why, ())
    key = view.packet.direction.name.lower()
    readings = [
        _read_element(element, f"{key}{'Deny' if denies else ''}[{place}]", view, denies=denies)
        for denies, lists in ((True, rule.denies), (False, rule.allows))
        for place, element in enumerate(lists[view.packet.direction])
    ]
    return RuleReading(number, name, rule, True, selector_text(rule.subject), tuple(readings))


def _read_element(element: Element, path: str, view: _View, *, denies: bool) -> Reading:
    return Reading(
        path,
        element_text(element, view.packet.direction, denies=denies),
        denies,
        *_read_peers(element, view, denies=denies),
        *_read_services(element, view.packet),
    )


def _read_peers(element: Element, view: _View, *, denies: bool) -> tuple[bool, str]:
    if element.peers is None:
        return True, "anybody"
    if not element.peers:
        return False, "it names nobody"
    demanded = view.demands.get((view.packet.direction, denies), ())
    peers = tuple(narrowed(peer, demanded, view.network) for peer in element.peers)
    for selector in peers:
        if selector.matches(view.peer):
            return True, selector_text(selector)
    return False, misses(peers, view.peer)


def _read_services(element: Element, packet: Packet) -> tuple[bool, str]:
    if element.services is None:
        return True, "any port"
    for service in element.services:
        if service.covers(packet.protocol, packet.port):
            return True, services_text([service]) or "any port"
    return False, f"{packet} is not {services_text(element.services)}"


def _judge(
    rules: list[RuleReading], closed: bool, mode: Enforcement, direction: Direction
) -> tuple[Verdict, str]:
    """1. A deny that matches. 2. An allow that matches. 3. The default."""
    for denies, verdict in ((True, Verdict.DENIED_BY_RULE), (False, Verdict.ALLOWED)):
        for rule in rules:
            for reading in rule.readings:
                if reading.matches and reading.denies is denies:
                    return verdict, f"{rule}, {reading.path}: {reading.says}"
    default = default_reason(rules, closed, mode, direction)
    if closed:
        return Verdict.DENIED, f"no rule allows it, and {default}"
    return Verdict.ALLOWED, default


def default_reason(
    rules: Sequence[RuleReading], closed: bool, mode: Enforcement, direction: Direction
) -> str:
    """What happens to what no rule speaks of, and why. `rules`: those that select the subject and are about this
    direction. `closed`: whether it is denied."""
    way = direction.name.lower()
    if not closed:
        return (
            f"the rules that select it leave the rest of its {way} open"
            if rules
            else f"no rule is about its {way}: all of it is allowed"
        )
    closing = [rule for rule in rules if direction in rule.rule.default_deny]
    if mode is Enforcement.ALWAYS:
        why = "enforcement is `always`"
    elif not closing:
        why = "its labels are not known yet"
    else:
        more = f" and {len(closing) - 1} more select it" if closing[1:] else " selects it"
        why = f"{closing[0]}{more}"
    return f"{way} is denied by default: {why}"
