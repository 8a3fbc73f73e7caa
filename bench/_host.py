"""A host to measure on: the tests' own, with a real engine and the agent of this checkout, in namespaces of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.docker.harness.engines import fetch
from tests.docker.harness.host import Host

ENGINE = "28"


@contextmanager
def host(engine: str = ENGINE) -> Iterator[Host]:
    """Engine running, images loaded, no agent yet. All of it is gone afterwards, however this ends."""
    made = Host(fetch(engine))
    try:
        made.engine.start()
        made.load_images()
        yield made
    finally:
        made.close()
