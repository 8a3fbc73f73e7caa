"""DNS and TLS names in rules. PURE. Errors are those of policy.fields."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from model.errors import InvalidInput
from policy.fields import given, inside, only_known, shown, text

_LONGEST = 253
_NAME = re.compile(r"[-a-z0-9_]{1,63}(\.[-a-z0-9_]{1,63})*\Z")
_PATTERN = re.compile(r"[-a-z0-9_*]+(\.[-a-z0-9_*]+)*\Z")


@dataclass(frozen=True, slots=True)
class DnsName:
    """Lower case, without the last dot. In a pattern `*` stands for any characters of one label; alone, for any name;
    as `**.` at the beginning, for one label or more."""

    text: str
    is_pattern: bool = False


def dns_name(data: Any) -> DnsName:
    """`{matchName: NAME}` or `{matchPattern: PATTERN}`."""
    only_known(data, ("matchName", "matchPattern"))
    kinds = [kind for kind in ("matchName", "matchPattern") if given(data, kind, "") != ""]
    if len(kinds) != 1:
        raise InvalidInput("needs one of matchName and matchPattern", hint="not both, and not neither")
    (kind,) = kinds
    return inside(kind, lambda value: _parsed(value, may_be_pattern=kind == "matchPattern"), data[kind])


def server_name(value: Any) -> DnsName:
    """What a TLS client asks for: a name, or a pattern."""
    return _parsed(value, may_be_pattern="*" in text(value))


def _parsed(value: Any, *, may_be_pattern: bool) -> DnsName:
    written = text(value).lower().removesuffix(".")
    is_known = (_PATTERN if may_be_pattern else _NAME).match(written)
    if not is_known or len(written) > _LONGEST:
        hint = "write matchPattern for one with *" if "*" in written and not may_be_pattern else ""
        raise InvalidInput(f"{shown(value)} is no DNS name", hint=hint or "write www.example.com")
    return DnsName(written, may_be_pattern)
