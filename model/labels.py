"""Labels: `source:key=value`, known by source and key together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from model.errors import InvalidInput

ANY = "any"
"""The source that a selector key has when it names none."""

IMAGE = "image"
"""Labels that came with the image. Never matched by a selector without a source."""

CIDR = "cidr"
"""The prefix that an identity of the world is. Never matched by a selector of labels."""

MADE_BY_CILIATE = frozenset({"reserved", "cidr", "fqdn", "network", "compose", "nomad"})
"""Sources that only ciliate assigns; a user who writes one as a label key is refused."""

SOURCES = MADE_BY_CILIATE | {"container", IMAGE, "opt", ANY}
"""All sources. Text before the first colon that is not one of these belongs to the key."""


@dataclass(frozen=True, slots=True, order=True)
class Label:
    source: str
    key: str
    value: str = ""

    def __str__(self) -> str:
        return f"{self.source}:{self.key}={self.value}" if self.value else f"{self.source}:{self.key}"

    @classmethod
    def parse(cls, text: str, *, default_source: str = ANY) -> Label:
        """`[source:]key[=value]`; a prefix that is no known source is part of the key."""
        name, _, value = text.partition("=")
        source, key = split_source(name, default=default_source)
        if not key:
            raise InvalidInput(f"label {text!r} has no key", hint="write source:key=value")
        return cls(source, key, value)


def split_source(name: str, *, default: str = ANY) -> tuple[str, str]:
    """`container:app` -> ("container", "app"); `app` and `example.com:app` -> (default, whole)."""
    source, colon, key = name.partition(":")
    if colon and source in SOURCES:
        return source, key
    return default, name


class Labels:
    """An immutable, sorted set of labels, at most one value for each (source, key)."""

    __slots__ = ("_by_name", "_hash")

    def __init__(self, labels: Iterable[Label] = ()) -> None:
        self._by_name = {(label.source, label.key): label for label in sorted(labels)}
        self._hash = hash(tuple(self._by_name.values()))

    @classmethod
    def parse(cls, texts: Iterable[str], *, default_source: str = ANY) -> Labels:
        return cls(Label.parse(text, default_source=default_source) for text in texts)

    @classmethod
    def of(cls, source: str, values: Mapping[str, str]) -> Labels:
        return cls(Label(source, key, value) for key, value in values.items())

    def get(self, source: str, key: str) -> Label | None:
        return self._by_name.get((source, key))

    def with_key(self, key: str) -> list[Label]:
        """Every label of this key, whatever its source."""
        return [label for label in self if label.key == key]

    def texts(self) -> list[str]:
        return [str(label) for label in self]

    def __or__(self, other: Labels) -> Labels:
        """The union; where both know a (source, key) the right side wins."""
        return Labels({**self._by_name, **other._by_name}.values())

    def __iter__(self) -> Iterator[Label]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def __contains__(self, label: object) -> bool:
        return isinstance(label, Label) and self._by_name.get((label.source, label.key)) == label

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Labels) and self._by_name == other._by_name

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[type[Labels], tuple[tuple[Label, ...]]]:
        """Made anew where it is unpickled, because hashes of texts differ between processes."""
        return Labels, (tuple(self),)

    def __repr__(self) -> str:
        return f"Labels({', '.join(self.texts())})"
