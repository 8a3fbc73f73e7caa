"""HTTP in rules. PURE. Errors are those of policy.fields."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import Any

from model.errors import InvalidInput
from policy.fields import each, given, inside, only_known, shown, text

MISMATCH = ("LOG", "ADD", "DELETE", "REPLACE")
"""What may be done about a header that does not match, instead of refusing the request."""

_LONGEST_EXPRESSION = 4096
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_BEYOND_RE2 = re.compile(r"(?<!\\)(?:\\\\)*(?:\\[1-9]|\(\?(?:[=!(>]|<[=!]|P=))")


@dataclass(frozen=True, slots=True)
class HeaderMatch:
    """`value` empty: the header has to be there, whatever it says. `secret`: the name of what holds the value."""

    name: str
    value: str = ""
    mismatch: str = ""
    secret: str = ""


@dataclass(frozen=True, slots=True)
class HttpRule:
    """Regular expressions (RE2), each about the whole of what it is compared with; empty: any. `headers`: `NAME` or
    `NAME: VALUE`."""

    path: str = ""
    method: str = ""
    host: str = ""
    headers: tuple[str, ...] = ()
    header_matches: tuple[HeaderMatch, ...] = ()


def http_rule(data: Any) -> HttpRule:
    only_known(data, ("path", "method", "host", "headers", "headerMatches"))
    path, method, host = (_expression(given(data, name, ""), name) for name in ("path", "method", "host"))
    return HttpRule(
        path,
        method,
        host,
        tuple(each(data.get("headers"), _header, "headers")),
        tuple(each(data.get("headerMatches"), _header_match, "headerMatches")),
    )


def _expression(value: Any, path: str) -> str:
    written = text(value, path)
    if len(written) > _LONGEST_EXPRESSION:
        raise InvalidInput(f"is longer than {_LONGEST_EXPRESSION} characters", path=path)
    if _BEYOND_RE2.search(written):
        raise InvalidInput(
            f"{shown(written)} looks around or back", path=path, hint="RE2 has no (?=, (?!, (?<= and \\1"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about [[:alpha:]], which RE2 knows and Python does not
            re.compile(written)
    except (re.error, RecursionError, OverflowError) as error:
        raise InvalidInput(f"{shown(written)} is no regular expression: {error}", path=path) from error
    return written


def _header(value: Any) -> str:
    written = text(value)
    return _named(re.split("[: ]", written, maxsplit=1)[0], written)


def _named(name: str, written: str) -> str:
    if not _TOKEN.match(name):
        raise InvalidInput(f"{shown(written)} does not begin with a header's name", hint="write NAME: VALUE")
    return written


def _header_match(data: Any) -> HeaderMatch:
    only_known(data, ("name", "value", "mismatch", "secret"))
    name, mismatch = text(data.get("name"), "name"), text(given(data, "mismatch", ""), "mismatch")
    if not _TOKEN.match(name):
        raise InvalidInput(f"{shown(name)} is no header's name", path="name")
    if mismatch and mismatch not in MISMATCH:
        raise InvalidInput(
            f"{shown(mismatch)} is no action", path="mismatch", hint=f"write {', '.join(MISMATCH)}"
        )
    held = inside("secret", secret, data["secret"]) if data.get("secret") is not None else ""
    return HeaderMatch(name, text(given(data, "value", ""), "value"), mismatch, held)


def secret(data: Any) -> str:
    """`{namespace, name}`: the name."""
    only_known(data, ("namespace", "name"))
    text(given(data, "namespace", ""), "namespace")
    name = text(data.get("name"), "name")
    if not name:
        raise InvalidInput("is empty", path="name")
    return name
