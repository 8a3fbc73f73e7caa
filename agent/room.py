"""PURE. Whether rules fit into the kernel's maps, asked before they are stored: what is stored must be what is in
force, also after the next start."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.resolution import Resolution
from agent.state import State
from datapath.maps import INNER, MAPS
from model.errors import Exhausted


def _prefixes() -> dict[str, int]:
    return {name: MAPS[name].max_entries for name in ("hosts4", "hosts6", "prefixes4", "prefixes6")}


@dataclass(frozen=True, slots=True)
class Room:
    """`policy`: entries of one identity's map. `prefixes`: of the maps that hold the rules' prefixes, by name."""

    policy: int = INNER.max_entries
    prefixes: Mapping[str, int] = field(default_factory=_prefixes)

    def check(self, state: State, resolution: Resolution) -> None:
        """Raises Exhausted. What comes later, an identity or an endpoint, may still find a map full; it is refused
        then."""
        for identity, entries in resolution.maps.items():
            if len(entries) > self.policy:
                labels = ", ".join(state.subjects[identity].labels.texts())
                raise Exhausted(
                    f"the rules make {len(entries)} entries for the endpoints with {labels}, "
                    f"where {self.policy} are the most",
                    hint="name fewer peers, or wider prefixes and port ranges",
                )
        wanted = Counter(
            f"{'hosts' if prefix.prefixlen == prefix.max_prefixlen else 'prefixes'}{prefix.version}"
            for prefix, _ in resolution.cidrs.items()
        )
        for name, number in wanted.items():
            if number > self.prefixes[name]:
                raise Exhausted(
                    f"the rules name {number} prefixes, where map {name} holds {self.prefixes[name]}",
                    hint="name wider prefixes",
                )
