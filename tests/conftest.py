"""What every test may ask for. A need that is not met skips here and fails where REQUIRE_ALL=1 is set (CI)."""

from __future__ import annotations

import os

import pytest


def require(condition: bool, reason: str) -> None:
    """Go on only where `condition` holds."""
    if condition:
        return
    if os.environ.get("REQUIRE_ALL") == "1":
        pytest.fail(f"required here: {reason}")
    pytest.skip(reason)
