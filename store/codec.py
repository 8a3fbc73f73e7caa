"""Values in the store: JSON with a version. A version that is not known is refused, not guessed at."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from model.errors import Unavailable, Unsupported
from model.labels import Label, Labels
from store.kv import Entry

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Codec(Generic[T]):
    """`dump` makes the JSON members of a record, `load` reads them back. `load` may fail with KeyError,
    TypeError or ValueError, which means that the record is damaged."""

    dump: Callable[[T], dict[str, Any]]
    load: Callable[[dict[str, Any]], T]
    version: int = 1

    def encode(self, value: T) -> bytes:
        return json.dumps({"v": self.version, **self.dump(value)}, separators=(",", ":")).encode()

    def decode(self, entry: Entry) -> T:
        try:
            members = json.loads(entry.value)
            version = members["v"]
            if version == self.version:
                return self.load(members)
        except (KeyError, TypeError, ValueError) as error:
            raise Unavailable(
                f"the store's record {entry.key} is damaged: {error!r}",
                hint="put back a copy of the store, or delete that key",
            ) from error
        raise Unsupported(
            f"the store's record {entry.key} has version {version}, and this ciliate knows {self.version}",
            hint="run the version of ciliate that wrote it",
        )


def dump_labels(labels: Labels) -> list[list[str]]:
    """Part by part: as text, the key `a=b` could not be told from the key `a` with the value `b`."""
    return [[label.source, label.key, label.value] for label in labels]


def load_labels(parts: Iterable[Iterable[str]]) -> Labels:
    return Labels(Label(*part) for part in parts)
