"""How long it takes until all hosts of a cluster know: rules that were stored on one of them, and a new container."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from bench._host import ENGINE
from bench._report import Result, write
from tests.cluster.harness.bed import Bed
from tests.cluster.harness.node import Node
from tests.cluster.harness.shop import NETWORK, RULE, SPANNING
from tests.docker.harness.engines import fetch
from tests.docker.harness.host import speaker_mount
from tests.docker.harness.rules import deny_all, selector
from tests.docker.harness.sandbox import wait_until

ROUNDS = 20

CALM = 0.3
"""Seconds until nothing of the round before is under way."""

TARGET = 250.0


def main() -> None:
    with Bed.made(fetch(ENGINE)) as bed:
        bed.each(Node.start_agent)
        bed.each(lambda node: node.network(NETWORK, *SPANNING))
        bed.each(lambda node: node.serve(f"web-{node.name}", "--network", NETWORK, "-l", "app=web"))
        bed.each(lambda node: node.caller(f"good-{node.name}", "--network", NETWORK, "-l", "role=ok"))
        put(bed.nodes[0], RULE)
        with pulses(bed) as logs:
            allowed, denied = zip(*(rules_change(bed, logs) for _ in range(ROUNDS)), strict=True)
        came = [a_container_comes(bed, number) for number in range(ROUNDS)]
    write(
        "cluster",
        [
            against_target("rules allow, on all hosts", allowed),
            against_target("rules deny, on all hosts", denied),
            against_target("a new container is known elsewhere", came),
        ],
    )


def against_target(metric: str, values: tuple[float, ...] | list[float]) -> Result:
    value = statistics.median(values)
    return Result(metric, value, "ms", "target", TARGET, round(value / TARGET, 3), len(values))


@contextmanager
def pulses(bed: Bed) -> Iterator[list[Path]]:
    """Each host's client asks the next host's server 200 times a second; the answers' times are in the files."""
    logs, running = [], []
    try:
        for node, to in zip(bed.nodes, (*bed.nodes[1:], bed.nodes[0]), strict=True):
            log = node.sandbox.directory / "pulse"
            with log.open("wb") as output:
                web = to.address(f"web-{to.name}", NETWORK)
                command = (
                    "docker",
                    "exec",
                    f"good-{node.name}",
                    "python3",
                    "/speaker.py",
                    "pulse",
                    web,
                    "80",
                )
                running.append((node, node.sandbox.start(*command, log=output)))
            logs.append(log)
        yield logs
    finally:
        for node, process in running:
            node.sandbox.end(process)


def times(log: Path) -> list[float]:
    text = log.read_text()
    return [float(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def rules_change(bed: Bed, logs: list[Path]) -> tuple[float, float]:
    """Milliseconds from a PUT on the first host until the last host lets packets pass, and until it no longer does."""
    first = bed.nodes[0]
    put(first, deny_all(selector(app="web")))
    time.sleep(CALM + 1)
    began = put(first, RULE)
    wait_until(lambda: all(times(log)[-1] > began for log in logs), "all hosts let pass")
    allowed = max(next(at for at in times(log) if at > began) for log in logs) - began
    time.sleep(CALM)
    began = put(first, deny_all(selector(app="web")))
    time.sleep(CALM + 1)
    denied = max(times(log)[-1] for log in logs) - began
    return allowed * 1e3, max(denied, 0.0) * 1e3


def put(node: Node, rule: object) -> float:
    """Replaces the rules in one step; the time just before."""
    began = time.time()
    node.api("PUT", "/v1/policy/name/bench", [rule])
    return began


def a_container_comes(bed: Bed, number: int) -> float:
    """Milliseconds from the start of a container until a server on another host, which may be reached by it because of
    its labels alone, has answered it."""
    put(bed.nodes[0], RULE)
    time.sleep(CALM)
    node, other = bed.nodes[number % 3], bed.nodes[(number + 1) % 3]
    web = other.address(f"web-{other.name}", NETWORK)
    name = f"new{number}"
    labels = ("--network", NETWORK, "-l", "role=ok")
    command = ("python3", "/speaker.py", "pulse", web, "80")
    node.start(name, *labels, *speaker_mount(), image="machine", command=command)
    wait_until(lambda: node.docker("logs", name).out, "it is answered")
    answered = float(node.docker("logs", name).lines[0])
    started = datetime.fromisoformat(node.inspect(name)["State"]["StartedAt"][:26] + "+00:00").timestamp()
    node.remove(name)
    return (answered - started) * 1e3


if __name__ == "__main__":
    main()
