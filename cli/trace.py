"""PURE. The way of a packet in short lines: the answer first, then why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cli import words
from cli.words import BAD, GOOD, WAITING, Cell

Answer = Mapping[str, Any]

VERDICTS = {
    "allowed": Cell("ALLOWED", GOOD),
    "denied": Cell("DENIED", BAD),
    "audit": Cell("AUDIT", WAITING),
}

AUDIT = "audit mode: what policy denies is told, and passes"
AUDITED = "audited: only audited rules deny it; it is told, and passes"

MOST = 10
"""Elements that are shown of each end without -v."""

NAMED = 3
"""Identities that are named of what an element selects."""

Line = tuple[Cell | str, ...]
"""Pieces that follow each other."""


def lines(answer: Answer, *, verbose: bool) -> Iterator[Line]:
    """Without `verbose`, of the rules only what decides or should have."""
    source, destination, networks = answer["source"], answer["destination"], answer["networks"]
    way = f"{source['name']} -> {destination['name']}, {answer['port']}/{answer['protocol']}"
    yield VERDICTS[answer["verdict"]], f": {way}"
    yield (answer["reason"],)
    if answer["verdict"] == "audit":
        by_sets = any(answer[way]["verdict"] == "audit" for way in ("egress", "ingress"))
        yield (f"it passes all the same: {'audited rules' if by_sets else 'audit mode'}",)
    yield ()
    for preposition, party in (("from", source), ("to", destination)):
        yield (f"{preposition:<6}{describe(party)}",)
        if party["note"]:
            yield (f"      {party['note']}",)
    yield ()
    yield "networks: ", VERDICTS[networks["verdict"]], f", {networks['reason']}"
    if networks["verdict"] == "denied" and not verbose:
        return
    for direction, party in (("egress", source), ("ingress", destination)):
        side = answer[direction]
        yield f"{direction} of {party['name']}: ", VERDICTS[side["verdict"]]
        yield from _side(side, verbose=verbose)


def describe(party: Answer) -> str:
    """`web: endpoint 1, identity 256, network n, container:app=web`"""
    number = party["identity"]
    facts = [f"endpoint {party['endpoint']}"] if party["endpoint"] else []
    facts.append("a new identity" if number is None else f"identity {words.identity(number)}")
    facts += [f"network {party['network']}"] if party["network"] else []
    facts += _telling(party["labels"])
    return f"{party['name']}: {', '.join(fact for fact in facts if fact != party['name'])}"


def _side(side: Answer, *, verbose: bool) -> Iterator[Line]:
    matching = [each for rule in side["rules"] for each in rule["elements"] if each["matches"]]
    if not matching:
        yield (f"  {side['reason']}",)
    if not side["judged"]:
        return
    left = sum(len(rule["elements"]) for rule in side["rules"]) if verbose else MOST
    for rule in side["rules"]:
        elements = [each for each in rule["elements"] if verbose or _decides(each, side, matching)]
        if verbose or elements[:left]:
            yield from _rule(rule, elements[:left])
        left -= len(elements)
    if left < 0:
        yield (f"    ... {-left} more, which -v shows",)
    if side["others"] and verbose:
        yield (f"  {side['others']} other rules are not about this",)
    said = entry(side["slot"], side["entry"])
    if side["verdict"] == "audit":
        said = f"{said}, if the audited rules were in force" if side["entry"]["deny"] else f"{said}, now"
    yield (f"  map: {said}",)
    if side["verdict"] == "audit":
        yield (f"  {AUDITED}",)
    if side["audit"]:
        yield (f"  {AUDIT}",)
    if not side["agrees"]:
        yield "  ", Cell("FAULT", BAD), ": rules and map disagree. Please report this, with the rules"


def _decides(element: Answer, side: Answer, matching: list[Answer]) -> bool:
    """It matches; or nothing does, and it is one of those that might have allowed it."""
    return bool(element["matches"]) or (side["verdict"] != "allowed" and not matching)


def _rule(rule: Answer, elements: list[Answer]) -> Iterator[Line]:
    if not rule["selects"]:
        yield (f"  {rule['text']} does not select it: {rule['why']}",)
        return
    yield (f"  {rule['text']} selects {rule['why']}",)
    for element in elements:
        mark = Cell("yes", GOOD) if element["matches"] else Cell("no ")
        yield "    ", mark, f" {element['path']}: {element['says']}"
        for part in ("peer", "port"):
            if not element[part]["matches"]:
                yield (f"          {part}: {element[part]['why']}",)


def policy_lines(policy: Answer) -> Iterator[Line]:
    """What the rules in force mean for one endpoint."""
    facts = [f"endpoint {policy['endpoint']}", f"identity {words.identity(policy['identity'])}"]
    facts += _telling(policy["labels"])
    yield (f"{policy['name']}: {', '.join(fact for fact in facts if fact != policy['name'])}",)
    yield (f"map: slot {policy['slot']}, {policy['entries']} entries",)
    if policy["audit"]:
        yield (AUDIT,)
    for direction in ("egress", "ingress"):
        side = policy[direction]
        yield ()
        if side["enforced"]:
            yield f"{direction}: ", VERDICTS["denied"], ", save what a rule allows"
        elif side["audited"]:
            yield f"{direction}: ", VERDICTS["audit"], ", save what a rule allows"
        else:
            yield f"{direction}: ", VERDICTS["allowed"], ", save what a rule denies"
        yield (f"  {side['reason']}",)
        for rule in side["rules"]:
            yield (f"  {rule['text']} selects {rule['why']}",)
            for element in rule["elements"]:
                yield (f"    {element['path']}: {element['says']}",)
                if element["selected"] is not None:
                    yield (f"      now {_identities(element['identities'], element['selected'])}",)


def _identities(shown: list[Answer], number: int) -> str:
    if not number:
        return "nobody"
    texts = [
        f"{words.identity(each['id'])} ({words.labels(_telling(each['labels']))})" for each in shown[:NAMED]
    ]
    more = f" and {number - len(texts)} more" if number > len(texts) else ""
    return ", ".join(texts) + more


def _telling(labels: list[str]) -> list[str]:
    """The network is the same for most."""
    return [label for label in labels if not label.startswith("network:")]


def entry(slot: int | None, shown: Answer | None) -> str:
    """`slot 3, from identity 257 on 80/tcp: allow`"""
    where = f"slot {slot}" if slot is not None else "none here; it would say"
    if shown is None:
        return f"{where}, no entry matches: deny"
    peer, port, protocol = shown["peer"], shown["port"], shown["protocol"]
    who = "anybody" if peer == 0 else "a new identity" if peer is None else f"identity {words.identity(peer)}"
    way = "from" if shown["direction"] == "ingress" else "to"
    place = f" on {port}/{protocol}" if port != "any" else "" if protocol == "any" else f" on any {protocol}"
    return f"{where}, {way} {who}{place}: {'deny' if shown['deny'] else 'allow'}"
