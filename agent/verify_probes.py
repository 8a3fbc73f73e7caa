"""Which packets to ask about: pairs of ends, and at each pair some ports and ICMP types, most of them at and
beside the edges of what the rules name, because that is where engines go wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from random import Random
from typing import Any

from agent.verify_facts import Facts
from agent.verify_parties import Parties
from agent.verify_report import End, Probe
from datapath.frames import ICMP, ICMP6, SCTP, TCP, UDP
from model.network import IPAddress, IPNetwork
from policy.icmp import UNJUDGED

MOST_PREFIXES = 200
"""Of those that the rules name. Of each the first and the last address and their neighbours are asked about."""

_MOST_PLACES = 40
"""Of prefixes that are not the world."""

_MOST_OTHERS = 20
"""Of other nodes' containers."""

_ANYWHERE = 2
"""Addresses of each family that nobody has named."""

_PROTOCOLS = (TCP, TCP, TCP, UDP, UDP, SCTP, None)
"""None: ICMP of the packet's family."""

_TYPES = {4: (8, 0, 13), 6: (128, 129, 160)}
_ALL_PORTS, _ALL_TYPES = frozenset(range(65536)), frozenset(range(256))

Named = tuple[list[int], list[int]]
"""Ports and ICMP types at the edges of what rules name."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """Ends of one family that meet in one way."""

    sources: Sequence[End]
    destinations: Sequence[End]
    version: int
    published: bool = False

    def __len__(self) -> int:
        return len(self.sources) * (len(self.destinations) - self._alike)

    def pair(self, number: int) -> tuple[End, End]:
        source, destination = divmod(number, len(self.destinations) - self._alike)
        if self._alike and destination >= source:
            destination += 1  # nobody is asked about himself
        return self.sources[source], self.destinations[destination]

    @property
    def _alike(self) -> bool:
        return self.sources is self.destinations


class Choice:
    """`documents_of`: the rules that select an identity, as JSON."""

    def __init__(
        self, facts: Facts, parties: Parties, documents_of: Callable[[int], Iterable[str]], chance: Random
    ) -> None:
        self._chance = chance
        self._documents_of = documents_of
        self._identities = {container.id: container.identity for container in facts.containers}
        self._named: dict[int, Named] = {}
        strangers = [
            party
            for address in dict.fromkeys(_addresses(facts, chance))
            if (party := parties.stranger(address)) is not None
        ]
        self._kinds: list[_Kind] = []
        for version in (4, 6):
            containers = [one.id for one in facts.containers if one.address(version)]
            others = [party for party in strangers if party.address.version == version]
            senders = [party.address for party in others if parties.origin(party) is not None]
            self._kinds += [
                _Kind(containers, containers, version),
                _Kind(containers, containers, version, published=True),
                _Kind(containers, [party.address for party in others], version),
                _Kind(senders, containers, version),
            ]

    @property
    def pairs(self) -> int:
        """How many there are."""
        return sum(map(len, self._kinds))

    def probes(self, limit: int, packets: int) -> Iterator[list[Probe]]:
        """`packets` of each of `limit` pairs; limit 0: of every pair. Each kind of pair has its share, for there are
        many more addresses than containers."""
        left = limit or self.pairs
        for place, kind in enumerate(sorted(self._kinds, key=len)):
            share = min(len(kind), left // (len(self._kinds) - place))
            left -= share
            for number in self._chance.sample(range(len(kind)), share):
                source, destination = kind.pair(number)
                yield [self._probe(kind, source, destination) for _ in range(packets)]

    def _probe(self, kind: _Kind, source: End, destination: End) -> Probe:
        chance = self._chance
        ports, types = self._edges(
            chance.choice([end for end in (source, destination) if isinstance(end, int)])
        )
        protocol = chance.choice(_PROTOCOLS)
        if protocol is None:
            protocol = ICMP if kind.version == 4 else ICMP6
            judged = [each for each in types if each not in UNJUDGED[protocol]]
            port = chance.choice([*judged, *_TYPES[kind.version]])
        else:
            port = chance.choice(ports) if ports and chance.random() < 0.8 else self._any_port()
        return Probe(source, destination, kind.version, protocol, port, kind.published)

    def _any_port(self) -> int:
        return self._chance.choice([0, 65535, self._chance.randrange(65536)])

    def _edges(self, container: int) -> Named:
        identity = self._identities[container]
        if identity not in self._named:
            self._named[identity] = _numbers(map(json.loads, self._documents_of(identity)))
        return self._named[identity]


def _addresses(facts: Facts, chance: Random) -> Iterator[IPAddress]:
    named = sorted(set(_prefixes(map(json.loads, facts.rules))), key=str)
    for prefix in chance.sample(named, min(len(named), MOST_PREFIXES)):
        yield from _edges_of(prefix)
    for prefix in chance.sample(sorted(facts.places, key=str), min(len(facts.places), _MOST_PLACES)):
        yield from _edges_of(prefix)
    yield from chance.sample(sorted(facts.others, key=str), min(len(facts.others), _MOST_OTHERS))
    for _ in range(_ANYWHERE):
        yield ip_address(chance.getrandbits(32))
        yield ip_address(0x2 << 124 | chance.getrandbits(124))


def _edges_of(prefix: IPNetwork) -> Iterator[IPAddress]:
    first, last = int(prefix.network_address), int(prefix.broadcast_address)
    for number in {first - 1, first, last, last + 1}:
        if 0 <= number < 1 << prefix.max_prefixlen:
            yield type(prefix.network_address)(number)


def _prefixes(documents: Iterable[Any]) -> Iterator[IPNetwork]:
    """Everything in the rules that is written like one, wherever it stands."""
    for _, text in _leaves(documents):
        if isinstance(text, str) and "/" in text:
            try:
                yield ip_network(text, strict=False)
            except ValueError:
                continue


def _numbers(documents: Iterable[Any]) -> Named:
    ports: set[int] = set()
    types: set[int] = set()
    for name, value in _leaves(documents):
        if name in ("port", "endPort", "type") and str(value).isdecimal():
            (types if name == "type" else ports).update(int(value) + step for step in (-1, 0, 1))
    return sorted(ports & _ALL_PORTS), sorted(types & _ALL_TYPES)


def _leaves(node: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """(the nearest name above it, the value) of everything that is neither a list nor an object."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _leaves(value, key)
    elif isinstance(node, Iterable) and not isinstance(node, str):
        for value in node:
            yield from _leaves(value, name)
    else:
        yield name, node
