"""Which peers a rule means. PURE.

Every selector is a value: equal ones select the same, so that a cache can hold each once."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_network

from model.identity import Reserved
from model.labels import ANY, CIDR, IMAGE, Label, Labels
from model.network import IPNetwork


class Operator(StrEnum):
    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


@dataclass(frozen=True, slots=True, order=True)
class Requirement:
    """About one key. The source `any` means every source but the image's, which names itself as it likes, and that of
    prefixes, which are selected as such. A key
    that is absent meets NotIn and DoesNotExist only."""

    source: str
    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    @property
    def is_local(self) -> bool:
        """Whether it demands a label that Compose gave, which says something within one network only."""
        return self.source == "compose" and self.operator in (Operator.IN, Operator.EXISTS)

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
            return [label.value for label in labels.with_key(self.key) if label.source not in (IMAGE, CIDR)]
        label = labels.get(self.source, self.key)
        return [] if label is None else [label.value]


@dataclass(frozen=True, slots=True, weakref_slot=True)
class LabelSelector:
    """All requirements must hold. None at all: everything."""

    requirements: tuple[Requirement, ...] = ()
    is_local: bool = field(init=False, repr=False, compare=False)
    """Whether it is about peers in the subject's own network only: it names a label of Compose's, and no network."""
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ordered = tuple(sorted(set(self.requirements)))
        names_network = any((one.source, one.key) == ("network", "id") for one in ordered)
        object.__setattr__(self, "requirements", ordered)
        object.__setattr__(self, "is_local", not names_network and any(one.is_local for one in ordered))
        object.__setattr__(self, "_hash", hash(ordered))

    def __hash__(self) -> int:
        return self._hash

    @property
    def is_wildcard(self) -> bool:
        return not self.requirements

    def matches(self, labels: Labels) -> bool:
        return all(requirement.matches(labels) for requirement in self.requirements)


@dataclass(frozen=True, slots=True)
class CidrSelector:
    """The part of the world inside `cidr` and inside none of `excepts`. Never an endpoint, a node or a host, whatever
    its address: only what is part of the world stands for a prefix."""

    cidr: IPNetwork
    excepts: tuple[IPNetwork, ...] = ()
    _hash: int = field(init=False, repr=False, compare=False)
    _holes: Mapping[int, AbstractSet[int]] = field(init=False, repr=False, compare=False)
    """The heads of `excepts`, by their length: there may be thousands."""

    is_wildcard = False

    def __post_init__(self) -> None:
        holes: dict[int, set[int]] = {}
        for hole in self.excepts:
            holes.setdefault(hole.prefixlen, set()).add(head(hole, hole.prefixlen))
        object.__setattr__(self, "_hash", hash((self.cidr, self.excepts)))
        object.__setattr__(self, "_holes", holes)

    def __hash__(self) -> int:
        return self._hash

    def matches(self, labels: Labels) -> bool:
        prefix = prefix_of(labels)
        if prefix is None or not covers(self.cidr, prefix):
            return False
        return not any(
            length <= prefix.prefixlen and head(prefix, length) in heads
            for length, heads in self._holes.items()
        )

    def prefixes(self) -> tuple[IPNetwork, ...]:
        """What needs an identity so that addresses can be told apart."""
        return (self.cidr, *self.excepts)


def head(prefix: IPNetwork, length: int) -> int:
    """Its first `length` bits, as a number."""
    return int(prefix.network_address) >> (prefix.max_prefixlen - length)


def covers(outer: IPNetwork, inner: IPNetwork) -> bool:
    """Whether all of `inner` lies in `outer`. Prefixes of different families never do."""
    return (
        outer.version == inner.version
        and outer.prefixlen <= inner.prefixlen
        and head(outer, outer.prefixlen) == head(inner, outer.prefixlen)
    )


_WORLDS: dict[Label, IPNetwork] = {
    Reserved.WORLD_IPV4.label: ip_network("0.0.0.0/0"),
    Reserved.WORLD_IPV6.label: ip_network("::/0"),
}


def prefix_of(labels: Labels) -> IPNetwork | None:
    """The part of the world that an identity stands for: a CIDR identity's prefix, or all of a family for the
    rest of the world, which no longer prefix knows. None for what is not known by its address."""
    world = None
    for label in labels:
        if label.source == "cidr":
            return _parsed(label.key)
        if label.source == "reserved":
            world = _WORLDS.get(label, world)
    return world


@lru_cache(maxsize=65536)
def _parsed(text: str) -> IPNetwork:
    return ip_network(text)


class Entity(StrEnum):
    ALL = "all"
    WORLD = "world"
    WORLD_IPV4 = "world-ipv4"
    WORLD_IPV6 = "world-ipv6"
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
                return Reserved.WORLD.label not in labels
            case _:
                return Label("reserved", self.entity.value) in labels


Selector = LabelSelector | CidrSelector | EntitySelector
