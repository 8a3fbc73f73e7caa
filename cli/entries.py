"""Entries of the kernel's maps as a table: a column for each field of keys and values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cli import words
from cli.output import print_table

Entry = Mapping[str, Any]


def flat(entry: Entry) -> dict[str, Any]:
    """Key and value side by side; a name that both have is the key's and `value.NAME`. Nested records become
    `name.field`."""
    fields: dict[str, Any] = {}
    for part in ("key", "value"):
        for name, value in _fields(entry[part]):
            fields[f"{part}.{name}" if name in fields else name] = value
    return fields


def _fields(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in record.items():
        if isinstance(value, Mapping):
            found.extend(_fields(value, f"{prefix}{name}."))
        else:
            found.append((prefix + name, value))
    return found


def text(name: str, value: Any) -> str:
    """Identities by name where they have one; nothing is `-`."""
    if name.rpartition(".")[2].endswith("identity") and isinstance(value, int):
        return words.identity(value)
    if name == "peer":
        return words.identity(value) if value else "any"
    if isinstance(value, bool):
        return words.yes(value)
    if isinstance(value, list):
        return ",".join(map(str, value)) or "-"
    return "-" if value in (None, "") else str(value)


def print_entries(entries: Sequence[Entry], *, empty: str) -> None:
    rows = [flat(entry) for entry in entries]
    names = list(dict.fromkeys(name for row in rows for name in row))
    print_table(
        [name.upper().replace("_", " ") for name in names] or [""],
        ([text(name, row.get(name)) for name in names] for row in rows),
        empty=empty,
    )
