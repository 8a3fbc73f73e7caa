"""What becomes of one packet. PURE."""

from __future__ import annotations

from model.flow import Direction, DropReason

Ruling = tuple[DropReason, Direction | None]
"""Why it is dropped, and in which direction that was found; NONE and None where it passes."""

PASSES: Ruling = (DropReason.NONE, None)
