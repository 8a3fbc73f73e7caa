"""The agent itself: how soon it is ready, how much memory it takes, and what a container's start and a new set of rules
cost it when there is much of everything."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from bench._endpoints import SERVICES, SOCKET, Machine, machine
from bench._report import Result, write

STARTS = 7
IDLE_SECONDS = 5.0
MANY = 500
SAMPLES = 15
RULES = 1000
PUTS = 7

CALM = 0.5
"""Seconds after which links are in stock again."""

REPLACE = "/v1/policy?replace-with-labels=set=bench&wait=30"

Rules = list[Mapping[str, Any]]


def main() -> None:
    with machine() as empty, machine() as full:
        results = [ready(empty), memory(empty)]
        for number in range(MANY):
            full.start(number)
        empty.wake()
        results += next_endpoint(empty, full)
        results += [rules(empty, "few endpoints"), rules(full, f"{MANY} endpoints")]
        results += [during_rules(full)]
    write("agent", results)


def against(target: float, metric: str, unit: str, values: list[float]) -> Result:
    value = statistics.median(values)
    return Result(metric, value, unit, "target", target, round(value / target, 3), len(values))


def ready(machine: Machine) -> Result:
    """From the start of the supervisor to the first answer of the API, nothing to be compiled."""
    seconds = []
    for _ in range(STARTS):
        machine.agent.stop()
        began = time.perf_counter()
        machine.begin()
        machine.wait_ready()
        seconds.append(time.perf_counter() - began)
    return against(1.0, "ready after start", "s", seconds)


def memory(machine: Machine) -> Result:
    """Resident memory of all processes, shared pages counted in each."""
    time.sleep(IDLE_SECONDS)
    children = json.loads(machine.sandbox.path("/run/ciliate/children.json").read_text())
    pids = [machine.agent.pid("supervisor"), *(child["pid"] for child in children)]
    status = [machine.sandbox.path(f"/proc/{pid}/status").read_text() for pid in pids]
    kilobytes = [int(text.partition("VmRSS:")[2].split()[0]) for text in status]
    return against(100.0, "resident memory, idle", "MB", [sum(kilobytes) / 1024])


def next_endpoint(empty: Machine, full: Machine) -> list[Result]:
    """In turns on an agent that has none or a few, and on one that has many."""
    few, many = [], []
    for number in range(MANY, MANY + SAMPLES):
        time.sleep(CALM)
        few.append(empty.start(number) * 1e3)
        many.append(full.start(number) * 1e3)
    ratio = statistics.median(one / other for one, other in zip(many, few, strict=True))
    return [
        Result(
            f"next endpoint after {MANY}",
            statistics.median(many),
            "ms",
            "first",
            statistics.median(few),
            round(ratio, 3),
            SAMPLES,
        )
    ]


def rule_set(generation: int) -> Rules:
    """Two for each service: it may be reached by another one, on a port that changes with every generation."""
    return [
        {
            "labels": ["set=bench"],
            "endpointSelector": {"matchLabels": {"app": f"s{number % SERVICES}"}},
            "ingress": [
                {
                    "fromEndpoints": [{"matchLabels": {"app": f"s{(7 * number + 1) % SERVICES}"}}],
                    "toPorts": [
                        {"ports": [{"port": str(1 + (number + generation) % 60000), "protocol": "TCP"}]}
                    ],
                }
            ],
        }
        for number in range(RULES)
    ]


def rules(machine: Machine, where: str) -> Result:
    """A PUT that replaces all rules by as many, until they are in force in the kernel."""
    machine.wake()
    milliseconds = []
    for generation in range(PUTS + 1):
        wanted = rule_set(generation)
        began = time.perf_counter()
        machine.rest.ask("PUT", REPLACE, wanted)
        milliseconds.append((time.perf_counter() - began) * 1e3)
    return against(200.0, f"{RULES} rules, {where}", "ms", milliseconds[1:])


@contextmanager
def always_replacing(machine: Machine) -> Iterator[None]:
    """By a process of its own, because this one plays the engine."""
    files = [machine.sandbox.directory / f"rules{generation}.json" for generation in range(2)]
    for generation, file in enumerate(files):
        file.write_text(json.dumps(rule_set(1000 + generation)))
    url = f"http://ciliate{REPLACE}"
    curl = f"curl -sfo /dev/null --unix-socket {SOCKET} -X PUT -H 'Content-Type: application/json' '{url}'"
    going = machine.sandbox.directory / "going"
    going.touch()
    work = " && ".join([f"test -e {going}", *(f"{curl} --data-binary @{file}" for file in files)])
    process = machine.sandbox.start("sh", "-c", f"while {work}; do :; done")
    try:
        yield
    finally:
        going.unlink()
        process.wait()


def during_rules(machine: Machine) -> Result:
    """An endpoint's start while rules are being replaced, and while not, in turns."""
    quiet, busy = [], []
    for number in range(MANY + SAMPLES, MANY + 3 * SAMPLES, 2):
        time.sleep(CALM)
        quiet.append(machine.start(number) * 1e3)
        time.sleep(CALM)
        with always_replacing(machine):
            time.sleep(0.1)
            busy.append(machine.start(number + 1) * 1e3)
    difference = [one - other for one, other in zip(busy, quiet, strict=True)]
    return against(10.0, "a start later for new rules", "ms", difference)


if __name__ == "__main__":
    main()
