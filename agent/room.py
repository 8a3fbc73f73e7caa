"""PURE. Whether rules fit into the kernel's maps, asked before they are stored: what is stored must be what is in
force, also after the next start."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.resolution import Resolution
from agent.state import State
from datapath.maps import INNER, MAPS
from datapath.tables import table_name
from identity.ipcache import Owner
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
        if resolution.before is not None:
            self._check_policies(
                state,
                resolution.before,
                "the rules of now, with the prefixes of the new ones,",
                "delete the old rules first, or name fewer prefixes",
            )
        self._check_policies(
            state, resolution, "the rules", "name fewer peers, or wider prefixes and port ranges"
        )
        # New prefixes are put before old ones go: for a moment both are there.
        prefixes = {prefix for cidrs in (state.cidrs, resolution.cidrs) for prefix, _ in cidrs.items()}
        wanted = Counter(map(table_name, prefixes))
        others = Counter(
            table_name(prefix)
            for prefix, owners in state.ipcache.claims.items()
            if prefix not in prefixes and min(owners) is not Owner.CIDR
        )
        for name, most in self.prefixes.items():
            if wanted[name] and wanted[name] + others[name] > most:
                raise Exhausted(
                    f"the rules and those before them name {wanted[name]} prefixes of map {name}, "
                    f"where {most - others[name]} of {most} entries are free for them",
                    hint="name wider prefixes; or delete the old rules first, if they are many",
                )

    def _check_policies(self, state: State, resolution: Resolution, rules: str, hint: str) -> None:
        for identity, entries in resolution.maps.items():
            if len(entries) > self.policy:
                labels = ", ".join(state.subjects[identity].labels.texts())
                raise Exhausted(
                    f"{rules} make {len(entries)} entries for the endpoints with {labels}, "
                    f"where a policy map holds {self.policy}",
                    hint=hint,
                )
