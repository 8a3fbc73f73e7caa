"""Three hosts on one underlay, each with a real engine and the agent of this checkout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from tests.cluster.harness.node import Node
from tests.cluster.harness.underlay import Underlay
from tests.docker.harness.engines import Engine
from tests.docker.harness.sandbox import wait_until

R = TypeVar("R")

HOSTS = 3


class Bed:
    def __init__(self, underlay: Underlay, nodes: tuple[Node, ...]) -> None:
        self.underlay = underlay
        self.nodes = nodes

    def each(self, work: Callable[[Node], R], *nodes: Node) -> list[R]:
        return at_once(work, nodes or self.nodes)

    def heal(self) -> None:
        """Ends all trouble, and waits until Consul has got over it."""
        self.underlay.heal()
        self.leader()

    def leader(self) -> Node:
        """The node whose Consul leads, once all have agreed on it for a while: who was cut off may make them vote
        again when it is back."""
        seen: list[set[str]] = [set()]

        def agreed() -> bool:
            seen.append({node.consul.leader() for node in self.nodes})
            return seen[-1] == seen[-2] and len(seen[-1]) == 1 and "" not in seen[-1]

        wait_until(agreed, "all Consul servers know the same leader", pause=0.5)
        return next(node for node in self.nodes if {node.ip} == seen[-1])

    @classmethod
    @contextmanager
    def made(cls, engine: Engine, hosts: int = HOSTS) -> Iterator[Bed]:
        """Engines run and images are loaded. All of it is gone afterwards, however this ends."""
        underlay = Underlay()
        try:
            with ThreadPoolExecutor(hosts) as pool:
                futures = [
                    pool.submit(Node, number, engine, underlay, hosts) for number in range(1, hosts + 1)
                ]
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
