"""What becomes of one packet. PURE."""

from __future__ import annotations

from dataclasses import dataclass

from model.flow import Direction, DropReason


@dataclass(frozen=True, slots=True)
class Ruling:
    """`reason`: why it is dropped, and `direction` whose refusal that is; NONE and None where nothing forbids it.
    `audited`: it is forbidden and passes all the same."""

    reason: DropReason = DropReason.NONE
    direction: Direction | None = None
    audited: bool = False

    @property
    def passes(self) -> bool:
        return self.reason is DropReason.NONE or self.audited

    def __str__(self) -> str:
        where = "" if self.direction is None else f" ({self.direction.name.lower()})"
        return f"{self.reason.text}{where}" + (", audited" if self.audited else "")


PASSES = Ruling()
