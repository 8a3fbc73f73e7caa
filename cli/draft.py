"""PURE. What a draft of rules would change, in words and rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cli.words import BAD, GOOD, WAITING, Cell

Answer = Mapping[str, Any]
Row = tuple[str | int | Cell, ...]

COLUMNS = ("NEWLY", "RULES OF", "DIRECTION", "ON", "FROM OR TO")

NEWLY = {
    "denied": Cell("DENIED", BAD),
    "audited": Cell("AUDIT", WAITING),
    "allowed": Cell("ALLOWED", GOOD),
}


def summary(answer: Answer) -> Iterator[str]:
    """What to know first."""
    rules = answer["rules"]
    yield f"{_count(rules['before'], 'rule')} in force, {rules['after']} with the draft"
    if not answer["changes_total"] and not answer["enforcement_total"]:
        yield "nothing changes for the endpoints of this host"
    for what in ("denied", "allowed"):
        if number := answer[f"pairs_{what}"]:
            yield f"{_count(number, 'pair')} of identities would newly be {what} something"
    if number := answer["pairs_audited"]:
        yield f"between {_count(number, 'pair')} of identities something passes that would newly be told as AUDIT"
    for each in answer["enforcement"]:
        name = (
            f"{each['name']} (endpoint {each['endpoint']})"
            if each["name"]
            else f"endpoint {each['endpoint']}"
        )
        default = "denies by default from then on" if each["enforced"] else "no longer denies by default"
        yield f"{name}: {each['direction']} {default}"
    yield from _left_out(answer["enforcement_total"] - len(answer["enforcement"]), "endpoints")


def rows(answer: Answer) -> Iterator[Row]:
    for change in answer["changes"]:
        yield (
            NEWLY[change["change"]],
            _names(change["subjects"], change["subjects_total"]),
            change["direction"],
            change["services"],
            ("from " if change["direction"] == "ingress" else "to ")
            + _names(change["peers"], change["peers_total"]),
        )


def rest(answer: Answer) -> Iterator[str]:
    yield from _left_out(answer["changes_total"] - len(answer["changes"]), "changes")


def _left_out(number: int, what: str) -> Iterator[str]:
    if number:
        yield f"... {number} more {what}, which --limit shows"


def _names(identities: list[Answer], total: int) -> str:
    more = f" and {total - len(identities)} more" if total > len(identities) else ""
    return ", ".join(map(_name, identities)) + more


def _name(identity: Answer) -> str:
    """By its labels, those of prefixes and entities alone."""
    labels = [str(label) for label in identity["labels"] if not label.startswith("network:")]
    outside = [label.partition(":")[2] for label in labels if label.startswith(("cidr:", "reserved:"))]
    if outside:
        return min(outside, key=lambda name: (name == "world", name))
    return " ".join(labels) or f"identity {identity['id']}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
