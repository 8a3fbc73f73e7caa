"""Keeps out of the agent what its libraries load just in case: TLS for asyncio, and rich's tracebacks for structlog,
8 MB together. To be imported before anything that imports structlog."""

from __future__ import annotations

import sys

import observe.lean  # noqa: F401

sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
