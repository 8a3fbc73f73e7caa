"""What rules say beyond ports: HTTP, Kafka, DNS and other protocols. PURE. Errors are those of policy.fields."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from model.errors import InvalidInput
from policy.fields import each, given, only_known, text
from policy.http import HttpRule, http_rule
from policy.kafka import KafkaRule, kafka_rule
from policy.names import DnsName, dns_name
from policy.rule import Service
from policy.traffic import PROTOCOLS


@dataclass(frozen=True, slots=True)
class KeyValueRule:
    """All of these pairs have to be in a request of a protocol that only its parser knows."""

    pairs: tuple[tuple[str, str], ...] = ()


L7Rule = HttpRule | KafkaRule | DnsName | KeyValueRule


@dataclass(frozen=True, slots=True)
class L7Rules:
    """`protocol`: "http", "kafka", "dns" or what l7proto says. No rules: nothing of it."""

    protocol: str
    rules: tuple[L7Rule, ...]


_KINDS: Mapping[str, Callable[[Any], L7Rule]] = {"http": http_rule, "kafka": kafka_rule, "dns": dns_name}


def l7_rules(data: Any) -> L7Rules | None:
    """None if it says nothing."""
    only_known(data, (*_KINDS, "l7proto", "l7"))
    named = [name for name in (*_KINDS, "l7proto") if given(data, name, "") != ""]
    if len(named) > 1:
        raise InvalidInput(f"{' and '.join(named)} exclude each other", hint="write two elements of toPorts")
    if given(data, "l7", None) is not None and "l7proto" not in named:
        raise InvalidInput("needs l7proto, which says the protocol", path="l7")
    if not named:
        return None
    if "l7proto" in named:
        rules = each(data.get("l7"), key_value_rule, "l7")
        return L7Rules(text(data["l7proto"], "l7proto"), tuple(rules))
    (kind,) = named
    return L7Rules(kind, tuple(each(data[kind], _KINDS[kind], kind)))


def key_value_rule(data: Any) -> KeyValueRule:
    if not isinstance(data, Mapping):
        raise InvalidInput("must be an object")
    pairs = []
    for key, value in data.items():
        if not key:
            raise InvalidInput("a key is empty")
        pairs.append((key, text(value, key)))
    return KeyValueRule(tuple(sorted(pairs)))


def refuse_misplaced(rules: L7Rules, services: Collection[Service], *, egress: bool) -> None:
    """`services`: of the same element of toPorts."""
    if rules.protocol == "dns":
        if not egress:
            raise InvalidInput(
                "DNS rules are about what a container asks: they belong into egress", path="dns"
            )
        if not services or any(service.first != service.last for service in services):
            raise InvalidInput("DNS rules need a port each, no range", path="dns", hint='write port: "53"')
    elif any(service.protocol != PROTOCOLS["TCP"] for service in services):
        raise InvalidInput(f"{rules.protocol} runs over TCP", hint="write protocol: TCP beside each port")
    if not services or any(service.first == 0 for service in services):
        raise InvalidInput(f"{rules.protocol} rules need ports", hint="a number from 1 to 65535")
