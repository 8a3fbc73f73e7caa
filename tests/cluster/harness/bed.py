"""Three hosts on one underlay, each with a real engine and the agent of this checkout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from tests.cluster.harness.node import Node
from tests.cluster.harness.underlay import Underlay
from tests.docker.harness.engines import Engine

R = TypeVar("R")

HOSTS = 3


class Bed:
    def __init__(self, underlay: Underlay, nodes: tuple[Node, ...]) -> None:
        self.underlay = underlay
        self.nodes = nodes

    def each(self, work: Callable[[Node], R], *nodes: Node) -> list[R]:
        return at_once(work, nodes or self.nodes)

    def close(self) -> None:
        self.each(Node.close)
        self.underlay.close()

    @classmethod
    @contextmanager
    def made(cls, engine: Engine, hosts: int = HOSTS) -> Iterator[Bed]:
        """Engines run and images are loaded. All of it is gone afterwards, however this ends."""
        underlay = Underlay()
        try:
            with ThreadPoolExecutor(hosts) as pool:
                futures = [pool.submit(Node, number, engine, underlay) for number in range(1, hosts + 1)]
            made = [future.result() for future in futures if not future.exception()]
            try:
                for future in futures:
                    future.result()
                bed = cls(underlay, tuple(made))
                bed.each(Node.ready)
                yield bed
            finally:
                at_once(Node.close, made)
        finally:
            underlay.close()


def at_once(work: Callable[[Node], R], nodes: tuple[Node, ...] | list[Node]) -> list[R]:
    with ThreadPoolExecutor(max(1, len(nodes))) as pool:
        return list(pool.map(work, nodes))
