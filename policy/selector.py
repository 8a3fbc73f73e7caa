"""Which peers a rule means. PURE.

Every selector is a value: equal ones select the same, so that a cache can hold each once."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_network

from model.labels import ANY, IMAGE, Label, Labels
from model.network import IPNetwork

_WORLD = Label("reserved", "world")


class Operator(StrEnum):
    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


@dataclass(frozen=True, slots=True, order=True)
class Requirement:
    """About one key. The source `any` means every source but the image's: an image names itself as it likes."""

    source: str
    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Labels) -> bool:
        values = self._values(labels)
        match self.operator:
            case Operator.IN:
                return any(value in self.values for value in values)
            case Operator.NOT_IN:
                return not any(value in self.values for value in values)
            case Operator.EXISTS:
                return bool(values)
            case Operator.DOES_NOT_EXIST:
                return not values

    def _values(self, labels: Labels) -> list[str]:
        if self.source == ANY:
            return [label.value for label in labels.with_key(self.key) if label.source != IMAGE]
        label = labels.get(self.source, self.key)
        return [] if label is None else [label.value]


@dataclass(frozen=True, slots=True, order=True)
class LabelSelector:
    """All requirements must hold. None at all: everything."""

    requirements: tuple[Requirement, ...] = ()

    @property
    def is_wildcard(self) -> bool:
        return not self.requirements

    def matches(self, labels: Labels) -> bool:
        return all(requirement.matches(labels) for requirement in self.requirements)


@dataclass(frozen=True, slots=True)
class CidrSelector:
    """Identities of prefixes inside `cidr` and inside none of `excepts`. Never an endpoint, whatever its address:
    only a CIDR identity has cidr labels. A prefix of length 0 is the world of its family."""

    cidr: IPNetwork
    excepts: tuple[IPNetwork, ...] = ()

    is_wildcard = False

    def matches(self, labels: Labels) -> bool:
        prefix = prefix_of(labels)
        if prefix is None:
            return self.cidr.prefixlen == 0 and Label("reserved", f"world-ipv{self.cidr.version}") in labels
        return _inside(prefix, self.cidr) and not any(_inside(prefix, hole) for hole in self.excepts)

    def prefixes(self) -> tuple[IPNetwork, ...]:
        """What needs an identity so that addresses can be told apart."""
        return (self.cidr, *self.excepts)


def prefix_of(labels: Labels) -> IPNetwork | None:
    """The prefix that an identity stands for; None if it is no CIDR identity."""
    for label in labels:
        if label.source == "cidr":
            return _parsed(label.key)
    return None


@lru_cache(maxsize=65536)
def _parsed(text: str) -> IPNetwork:
    return ip_network(text)


def _inside(inner: IPNetwork, outer: IPNetwork) -> bool:
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]


class Entity(StrEnum):
    ALL = "all"
    WORLD = "world"
    HOST = "host"
    REMOTE_NODE = "remote-node"
    CLUSTER = "cluster"
    INIT = "init"
    HEALTH = "health"
    UNMANAGED = "unmanaged"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class EntitySelector:
    """`cluster` is all that is not the world: the host, other nodes, every container, managed or not."""

    entity: Entity

    @property
    def is_wildcard(self) -> bool:
        return self.entity is Entity.ALL

    def matches(self, labels: Labels) -> bool:
        match self.entity:
            case Entity.ALL:
                return True
            case Entity.NONE:
                return False
            case Entity.CLUSTER:
                return _WORLD not in labels
            case _:
                return Label("reserved", self.entity.value) in labels


Selector = LabelSelector | CidrSelector | EntitySelector
