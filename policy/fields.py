"""What any object, list, text or truth value in a rule has to be, and what is said if it is not. PURE.

Errors are InvalidInput or Unsupported, with a path that starts at the value."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from difflib import get_close_matches
from reprlib import Repr
from typing import Any, TypeVar

from model.errors import CiliateError, InvalidInput
from model.labels import Label, Labels, split_source

T = TypeVar("T")


def only_known(data: Any, names: Collection[str]) -> None:
    """`data` is an object that has no other members."""
    if not isinstance(data, Mapping):
        raise InvalidInput("must be an object")
    for name in data:
        if name not in names:
            raise InvalidInput("no such field", path=str(name), hint=near(str(name), names))


def each(value: Any, parse: Callable[[Any], T], path: str) -> list[T]:
    """A list of what `parse` returns; null is the empty list."""
    if value is None:
        return []
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise InvalidInput("must be a list", path=path)
    return [inside(f"{path}[{number}]", parse, item) for number, item in enumerate(value)]


def inside(path: str, parse: Callable[[Any], T], value: Any) -> T:
    """What `parse` makes of the value; its errors begin with this path."""
    try:
        return parse(value)
    except CiliateError as error:
        error.path = under(path, error.path)
        raise


def under(path: str, below: str) -> str:
    return f"{path}.{below}" if path and below and not below.startswith("[") else path + below


_brief = Repr()
_brief.maxstring = _brief.maxother = _LONGEST_SHOWN = 80


def shown(value: Any) -> str:
    """As it stands in an error's text: a value may be as large as a request."""
    return _brief.repr(value)


def near(written: str, names: Collection[str]) -> str:
    found = get_close_matches(written[:_LONGEST_SHOWN], names, 1)
    return f"did you mean '{found[0]}'?" if found else f"known here: {', '.join(names)}"


def given(data: Mapping[str, Any], name: str, otherwise: Any) -> Any:
    """null is the same as absent; nothing else is, so that no slip passes for a wildcard."""
    value = data.get(name)
    return otherwise if value is None else value


def text(value: Any, path: str = "") -> str:
    if value is None:
        raise InvalidInput("is missing", path=path)
    if not isinstance(value, str):
        raise InvalidInput(f"must be text, not {shown(value)}", path=path, hint="write it in quotes")
    return value


def is_number(written: str) -> bool:
    return written.isascii() and written.isdecimal()


def truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput("must be true or false")
    return value


def rule_label(value: Any) -> Label:
    """`[source:]key[=value]`, or Cilium's {key, value, source}. They only name the rule, so any source will do; one
    that is not known is part of the key in both forms."""
    if isinstance(value, Mapping):
        only_known(value, ("key", "value", "source"))
        source, key = text(given(value, "source", ""), "source"), text(value.get("key"), "key")
        name = f"{source}:{key}" if source else key
        content = text(given(value, "value", ""), "value")
    else:
        name, _, content = text(value).partition("=")
    source, key = split_source(name.removeprefix("unspec:"))
    if not key:
        raise InvalidInput("a label needs a key", hint='write "key=value"')
    return Label(source, key, content)


def rule_labels(value: Any) -> Labels:
    labels = set(each(value, rule_label, ""))
    kept = Labels(labels)
    for label in labels:
        if label not in kept:
            raise InvalidInput(f"{shown(label.key)} has two values", hint="keep one of them")
    return kept
