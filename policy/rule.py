"""Rules, as the schema understood them. PURE.

Absent, empty and wildcard differ, and that difference is the commonest mistake in engines like this: a peer list
that is absent restricts nothing as long as something else does; one that is there but empty selects nobody."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from model.flow import Direction
from model.labels import Labels
from policy.ports import ANY_PROTOCOL, LAST_PORT
from policy.selector import CidrSelector, LabelSelector, Requirement, Selector


@dataclass(frozen=True, slots=True, order=True)
class Service:
    """A protocol and an inclusive range of ports; ICMP: of types. Protocol 0: every one, and then every port."""

    protocol: int = ANY_PROTOCOL
    first: int = 0
    last: int = LAST_PORT

    def covers(self, protocol: int, port: int) -> bool:
        return self.protocol == ANY_PROTOCOL or (
            self.protocol == protocol and self.first <= port <= self.last
        )


@dataclass(frozen=True, slots=True)
class Element:
    """One element of ingress, egress or their deny lists. `peers` None: anybody; (): nobody. `services` None: any;
    (): none. `requires`: what it demands of the peers by label of every such element, see policy.narrowing."""

    peers: tuple[Selector, ...] | None
    services: tuple[Service, ...] | None
    requires: tuple[Requirement, ...] = ()


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Rule:
    """`document`: the rule as it was given, as JSON, which is what the API shows and the store keeps."""

    subject: LabelSelector
    allows: dict[Direction, tuple[Element, ...]]
    denies: dict[Direction, tuple[Element, ...]]
    default_deny: frozenset[Direction]
    """Directions in which this rule makes its subjects deny what nobody allows."""
    labels: Labels = field(default_factory=Labels)
    document: str = "{}"
    is_audited: bool = False
    """Whether its set only reports: it changes no verdict, and what it would deny is told."""
    is_local: bool = field(init=False, compare=False)
    """Whether it selects peers, or narrows their selection, by labels that Compose gave."""

    def __post_init__(self) -> None:
        is_local = any(
            any(isinstance(peer, LabelSelector) and peer.is_local for peer in element.peers or ())
            or any(requirement.is_local for requirement in element.requires)
            for element in self._elements()
        )
        object.__setattr__(self, "is_local", is_local)

    def cidr_selectors(self) -> list[CidrSelector]:
        return [
            peer
            for element in self._elements()
            for peer in element.peers or ()
            if isinstance(peer, CidrSelector)
        ]

    def _elements(self) -> Iterator[Element]:
        for elements in (*self.allows.values(), *self.denies.values()):
            yield from elements

    def __hash__(self) -> int:
        return hash(self.document)
