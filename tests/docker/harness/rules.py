"""Policies as the stories need them."""

from __future__ import annotations

from typing import Any

Rule = dict[str, Any]


def selector(**labels: str) -> Rule:
    return {"matchLabels": labels}


def port(number: int, protocol: str = "TCP") -> Rule:
    return {"ports": [{"port": str(number), "protocol": protocol}]}


def allow(subject: Rule, sender: Rule, *ports: Rule) -> Rule:
    """`subject` may be reached by `sender` alone, on `ports` alone (all if none is given)."""
    entry: Rule = {"fromEndpoints": [sender]}
    return {"endpointSelector": subject, "ingress": [{**entry, "toPorts": list(ports)} if ports else entry]}


def allow_entities(subject: Rule, *entities: str) -> Rule:
    return {"endpointSelector": subject, "ingress": [{"fromEntities": list(entities)}]}


def allow_out(subject: Rule, *entities: str) -> Rule:
    """`subject` may reach `entities` alone."""
    return {"endpointSelector": subject, "egress": [{"toEntities": list(entities)}]}


def deny_all(subject: Rule) -> Rule:
    return {"endpointSelector": subject, "ingress": [{}]}
