"""PURE. How single facts are written: states, identities, labels, sizes and times."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from model.identity import Reserved


@dataclass(frozen=True, slots=True)
class Cell:
    """Text with a style of rich."""

    text: str
    style: str = ""


_LONG_ID = re.compile(r"\A(network:id=[0-9a-f]{12})[0-9a-f]{52}\Z")

GOOD, WAITING, BAD = "green", "yellow", "bold red"

STYLES = {
    "ok": GOOD,
    "ready": GOOD,
    "running": GOOD,
    "created": WAITING,
    "waiting-for-labels": WAITING,
    "waiting to restart": BAD,
    "degraded": BAD,
}
"""Words of state, and their colours."""


def state(word: str) -> Cell:
    """A word that is not known may mean anything: it draws attention."""
    return Cell(word, STYLES.get(word, WAITING))


def identity(number: int) -> str:
    """Reserved identities by name."""
    if number in Reserved.__members__.values():
        return Reserved(number).name.lower().replace("_", "-")
    return str(number)


def labels(texts: Sequence[str]) -> str:
    """In a table; of a network's long id the beginning, as Docker shows it."""
    return " ".join(_LONG_ID.sub(r"\1…", text) for text in texts)


def yes(value: bool) -> str:
    return "yes" if value else "no"


def share(used: int, size: int) -> str:
    """How full, in percent; what is used at all is never 0%."""
    if not size:
        return "-"
    percent = 100 * used / size
    return "<1%" if 0 < percent < 1 else f"{percent:.0f}%"


def duration(seconds: float) -> str:
    """The two largest units: `3d 4h`, `5m 12s`, `8s`."""
    left = int(seconds)
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        number, left = divmod(left, length)
        if number or (unit == "s" and not parts):
            parts.append(f"{number}{unit}")
    return " ".join(parts[:2])
