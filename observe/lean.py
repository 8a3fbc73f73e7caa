"""asyncio without TLS, which saves 4 MB of memory: nothing here speaks it, and asyncio does without it where an
interpreter has none. To be imported before anything that imports asyncio."""

from __future__ import annotations

import sys

if "asyncio" not in sys.modules and "ssl" not in sys.modules:
    sys.modules["ssl"] = None  # type: ignore[assignment]
    import asyncio  # noqa: F401

    del sys.modules["ssl"]
