"""PURE. Which slot of the datapath's `policies` belongs to which local identity.

Slot 0 is never given out: an endpoint entry that nobody filled in points there and finds no policy."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from model.errors import Exhausted

LAST_SLOT = 4095


@dataclass(frozen=True, slots=True)
class Slots:
    """`freed` is a linked list (slot, rest), so that taking and giving back cost the same however many exist."""

    fresh: int = 1
    freed: tuple[int, object] | None = None

    @classmethod
    def without(cls, used: Collection[int]) -> Slots:
        slots = cls(fresh=max(used, default=0) + 1)
        for slot in range(1, slots.fresh):
            if slot not in used:
                slots = slots.give_back(slot)
        return slots

    def take(self) -> tuple[int, Slots]:
        if self.freed is not None:
            slot, rest = self.freed
            return slot, Slots(self.fresh, rest)  # type: ignore[arg-type]
        if self.fresh > LAST_SLOT:
            raise Exhausted(
                f"this node has {LAST_SLOT} different identities, the most that the datapath holds",
                hint="leave labels that differ for each container out of the identity (CILIATE_LABELS)",
            )
        return self.fresh, Slots(self.fresh + 1, None)

    def give_back(self, slot: int) -> Slots:
        return Slots(self.fresh, (slot, self.freed))
