"""Traffic in rules: ports and ICMP types. PURE.

Each function takes what JSON gave and returns services. Errors are those of policy.fields."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from model.errors import InvalidInput, Unsupported
from policy.fields import given, is_number, near, only_known, shown, text
from policy.icmp import ICMP, ICMP_TYPES, ICMPV6, UNJUDGED
from policy.ports import LAST_PORT
from policy.rule import Service

PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}

_PORT_NAME = re.compile(r"(?=.{1,15}\Z)(?=.*[a-zA-Z])[a-zA-Z0-9]+(-[a-zA-Z0-9]+)*\Z")
"""As services are named (RFC 6335, 5.1)."""


def port_services(data: Any) -> tuple[Service, ...]:
    """One port or range, for one protocol or, with ANY, for each that has ports."""
    only_known(data, ("port", "endPort", "protocol"))
    name = text(given(data, "protocol", ""), "protocol").upper() or "ANY"
    if name in ("ICMP", "ICMPV6"):
        raise InvalidInput(f"{name} has no ports", path="protocol", hint="write icmps beside toPorts")
    if name != "ANY" and name not in PROTOCOLS:
        raise InvalidInput(
            f"{shown(name)} is no protocol", path="protocol", hint="write TCP, UDP, SCTP or ANY"
        )
    first, last = _ports(data)
    numbers = PROTOCOLS.values() if name == "ANY" else [PROTOCOLS[name]]
    return tuple(Service(number, first, last) for number in numbers)


def _ports(data: Mapping[str, Any]) -> tuple[int, int]:
    """The first and the last. Port 0 means all."""
    first, last = _port(data.get("port")), given(data, "endPort", 0)
    if isinstance(last, bool) or not isinstance(last, int):
        raise InvalidInput("must be a number", path="endPort")
    if not last:
        return first, first or LAST_PORT
    if not first:
        raise InvalidInput("a range needs a port to begin with", path="endPort")
    if not first <= last <= LAST_PORT:
        raise InvalidInput(f"{last} is not from {first} to {LAST_PORT}", path="endPort")
    return first, last


def _port(port: Any) -> int:
    """0: every port. Ports are strings in rules; a plain number is taken too. No other base than ten: `010` means
    8 to some readers and 10 to others, so it is refused."""
    if port is None or isinstance(port, bool) or not isinstance(port, str | int):
        raise InvalidInput(
            "must be a number from 1 to 65535, as text", path="port", hint='"0" means every port'
        )
    written = str(port)
    if not is_number(written):
        if _PORT_NAME.match(written):
            raise Unsupported(
                f"{shown(written)}: a container's ports have no names", path="port", hint="write its number"
            )
        raise InvalidInput(f"{shown(written)} is no port", path="port", hint="a range is port and endPort")
    if len(written) > 1 and written.startswith("0"):
        raise InvalidInput(
            f"{shown(written)} begins with 0, which some read as octal", path="port", hint="write it without"
        )
    if len(written) > len(str(LAST_PORT)) or int(written) > LAST_PORT:
        raise InvalidInput(f"{shown(written)} is larger than {LAST_PORT}", path="port")
    return int(written)


def icmp_service(data: Any) -> Service:
    only_known(data, ("type", "family"))
    family = text(given(data, "family", ""), "family") or "IPv4"
    if family not in ICMP_TYPES:
        raise InvalidInput(f"{shown(family)} is no family", path="family", hint="write IPv4 or IPv6")
    kind, names = data.get("type"), ICMP_TYPES[family]
    if isinstance(kind, str):
        if is_number(kind) and len(kind) <= 3:
            kind = int(kind)
        elif kind in names:
            kind = names[kind]
        else:
            raise InvalidInput(
                f"{shown(kind)} is no ICMP type of {family}", path="type", hint=near(kind, names)
            )
    if isinstance(kind, bool) or not isinstance(kind, int) or not 0 <= kind <= 255:
        raise InvalidInput("must be a number from 0 to 255, or a name", path="type")
    return Service(ICMP if family == "IPv4" else ICMPV6, kind, kind)


def denied_icmp_service(data: Any) -> Service:
    """In a denial a type that no rule is asked about would be a promise broken silently."""
    service = icmp_service(data)
    if service.first in UNJUDGED[service.protocol]:
        raise InvalidInput(
            f"{shown(data['type'])} is never denied by a rule",
            path="type",
            hint="an error passes with the flow that it is about: deny that one; what is of one link alone never "
            "passes",
        )
    return service
