"""Three hosts on one underlay, each with a real engine and the agent of this checkout."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from tests.cluster.harness.node import Node
from tests.cluster.harness.underlay import Underlay
from tests.docker.harness.engines import Engine
from tests.docker.harness.sandbox import wait_until

R = TypeVar("R")
T = TypeVar("T")

HOSTS = 3

ROOT = "ciliate/default/"


class Bed:
    def __init__(self, underlay: Underlay, nodes: tuple[Node, ...]) -> None:
        self.underlay = underlay
        self.nodes = nodes

    def each(self, work: Callable[[Node], R], *nodes: Node) -> list[R]:
        return at_once(work, nodes or self.nodes)

    def heal(self) -> None:
        """Ends all trouble, and waits until Consul has got over it."""
        self.underlay.heal()
        for node in self.nodes:
            if not node.consul.runs:
                node.consul.start()
        self.leader()

    def whole(self) -> None:
        """Waits until every node knows all others."""

        def known(node: Node) -> bool:
            listed = node.api("GET", "/v1/node")
            return {"here"} == {each["state"] for each in listed} and len(listed) == len(self.nodes)

        wait_until(lambda: all(map(known, self.nodes)), "all nodes know each other", 60)

    def leader(self) -> Node:
        """The node whose Consul leads, once all have agreed on it for a while: who was cut off may make them vote
        again when it is back."""
        seen: list[set[str]] = [set()]

        def agreed() -> bool:
            seen.append({node.consul.leader() for node in self.nodes})
            return seen[-1] == seen[-2] and len(seen[-1]) == 1 and "" not in seen[-1]

        wait_until(agreed, "all Consul servers know the same leader", 60, 0.5)
        return next(node for node in self.nodes if {node.ip} == seen[-1])

    def policy(self, *rules: Mapping[str, Any], at: Node | None = None) -> int:
        """Replaces all rules, from the first node or `at`; in force on every node when this returns."""
        node = at or self.nodes[0]
        revision = int(node.api("DELETE", "/v1/policy")["revision"])
        if rules:
            revision = int(node.api("PUT", "/v1/policy", list(rules))["revision"])
        self.each(lambda node: node.api("GET", f"/v1/policy?revision={revision}&wait=10"))
        return revision

    def stored(self) -> dict[str, Any]:
        """Every key of the cluster in Consul without its beginning, and the value."""
        rows = self.nodes[0].consul.get(f"/v1/kv/{ROOT}?recurse=", [])
        return {row["Key"].removeprefix(ROOT): json.loads(b64decode(row["Value"] or "")) for row in rows}

    @classmethod
    @contextmanager
    def made(cls, engine: Engine, hosts: int = HOSTS) -> Iterator[Bed]:
        """Engines run and images are loaded. All of it is gone afterwards, however this ends."""
        underlay = Underlay()
        made: list[Node] = []
        try:
            at_once(lambda number: made.append(Node(number, engine, underlay, hosts)), range(1, hosts + 1))
            bed = cls(underlay, tuple(sorted(made, key=lambda node: node.number)))
            bed.each(Node.ready)
            yield bed
        finally:
            at_once(Node.close, made)
            underlay.close()


def at_once(work: Callable[[T], R], things: Sequence[T]) -> list[R]:
    """The first error is raised once all are done."""
    with ThreadPoolExecutor(max(1, len(things))) as pool:
        return list(pool.map(work, things))
