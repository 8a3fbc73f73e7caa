"""PURE. Which slot of the datapath's `policies` belongs to which local identity.

Slot 0 is never given out: an endpoint entry that nobody filled in points there and finds no policy."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from model.errors import Exhausted

LAST_SLOT = 4095


@dataclass(frozen=True, slots=True)
class Slots:
    """`freed` is a linked list (slot, rest), so that taking and giving back cost the same however many exist. Those
    `retired` are nobody's either, but what their last owner had is still in them."""

    fresh: int = 1
    freed: tuple[int, object] | None = None
    retired: tuple[int, ...] = ()

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
            return slot, replace(self, freed=rest)  # type: ignore[arg-type]
        if self.fresh > LAST_SLOT:
            raise Exhausted(
                f"map policies is full: this node has {LAST_SLOT} different identities",
                hint="leave labels that differ for each container out of the identity (CILIATE_LABELS)",
            )
        return self.fresh, replace(self, fresh=self.fresh + 1)

    def give_back(self, slot: int) -> Slots:
        """It holds nothing."""
        return replace(self, freed=(slot, self.freed))

    def retire(self, slot: int) -> Slots:
        return replace(self, retired=(*self.retired, slot))

    def renewed(self) -> Slots:
        """The retired ones have been emptied."""
        slots = replace(self, retired=())
        for slot in self.retired:
            slots = slots.give_back(slot)
        return slots

    @property
    def used_up(self) -> bool:
        """Only retired ones are left."""
        return self.freed is None and self.fresh > LAST_SLOT and bool(self.retired)
