"""How long a container takes to start and to end on a ciliate network, and on a bridge network of the same engine: one
after the other in turns, and twenty at once; how much of it is the agent's own; and what it takes just after a kill."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence

from bench._calls import Call, relayed
from bench._host import host
from bench._report import Result, write
from tests.docker.harness.host import Host

NETWORKS = ("ciliate", "bridge2")

PAIRS = 20
BURSTS = 3
BURST = 20
CALLS = 15
KILLS = 8

CALM = 0.6
"""Seconds after which nothing is still being done for the container before: each shall pay for itself alone."""

STARTING = "docker run"
ENDING = ("docker stop", "docker rm")

Series = dict[str, dict[str, list[float]]]
"""Command -> network -> milliseconds."""


def main() -> None:
    with host() as machine:
        machine.agent.start()
        make_networks(machine)
        one, many = in_turns(machine, PAIRS, one_container), in_turns(machine, BURSTS, many_containers)
        machine.empty()
        machine.network("ciliate")
        killed = [after_a_kill(machine) for _ in range(KILLS)]
        machine.empty()
        machine.agent.stop()
        with relayed(machine) as relay:
            make_networks(machine)
            own = [agents_share(machine, relay.calls) for _ in range(CALLS)]
    results = [compare(command, one[command]) for command in one]
    results.append(later("docker run, later than bridge", one["docker run"]))
    results += [compare(command, many[command]) for command in many]
    for name, values in zip(
        ("calls before it starts", "calls until it is gone"), zip(*own, strict=True), strict=True
    ):
        value = statistics.median(values)
        results.append(Result(name, value, "ms", "target", 10.0, round(value / 10.0, 3), len(values)))
    slowest = max(killed)
    results.append(
        Result(
            "run after a kill, slowest", slowest, "ms", "target", 5000.0, round(slowest / 5000.0, 3), KILLS
        )
    )
    write("start", results)


def make_networks(machine: Host) -> None:
    machine.network("ciliate")
    if "bridge2" not in machine.docker("network", "ls", "--format", "{{.Name}}").lines:
        machine.docker("network", "create", "bridge2")
    for network in NETWORKS:  # the first of all pays for what nobody pays again
        one_container(machine, network)


def in_turns(machine: Host, rounds: int, work: Callable[[Host, str], dict[str, float]]) -> Series:
    """Every other round begins with the other network."""
    found: Series = {}
    for round in range(rounds):
        for network in NETWORKS if round % 2 else reversed(NETWORKS):
            for command, took in work(machine, network).items():
                found.setdefault(command, {}).setdefault(network, []).append(took)
    return found


def one_container(machine: Host, network: str) -> dict[str, float]:
    commands = {
        "docker run": run("one", network),
        "docker stop": ("stop", "one"),
        "docker rm": ("rm", "one"),
    }
    took = {}
    for command, words in commands.items():
        time.sleep(CALM)
        took[command] = together(machine, [words])
    return took


def many_containers(machine: Host, network: str) -> dict[str, float]:
    names = [f"many{number}" for number in range(BURST)]
    time.sleep(2 * CALM)
    started = together(machine, [run(name, network) for name in names])
    time.sleep(2 * CALM)
    ended = together(machine, [("rm", "-f", name) for name in names])
    return {f"docker run, {BURST} at once": started, f"docker rm -f, {BURST} at once": ended}


def run(name: str, network: str) -> tuple[str, ...]:
    return ("run", "-d", "--name", name, "--network", network, "--stop-signal", "KILL", "box")


def together(machine: Host, commands: Iterable[Sequence[str]]) -> float:
    """Milliseconds until all are done. CalledProcessError if one fails."""
    began = time.perf_counter()
    running = [
        subprocess.Popen(
            machine.sandbox.command("docker", *words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for words in commands
    ]
    for process in running:
        if process.wait(120):
            raise subprocess.CalledProcessError(process.returncode, process.args)
    return (time.perf_counter() - began) * 1e3


def after_a_kill(machine: Host) -> float:
    """Milliseconds of a start that finds the worker just killed."""
    machine.agent.kill()
    took = together(machine, [run("one", "ciliate")])
    machine.remove("one")
    return took


def agents_share(machine: Host, calls: list[Call]) -> tuple[float, float]:
    """Milliseconds in which the engine waits for the agent while a container starts, and while it ends."""
    shares = []
    for commands in ([run("one", "ciliate")], [("stop", "one"), ("rm", "one")]):
        time.sleep(CALM)
        calls.clear()
        for words in commands:
            together(machine, [words])
        shares.append(sum(call.seconds for call in calls) * 1e3)
    return shares[0], shares[1]


def compare(command: str, by_network: dict[str, list[float]]) -> Result:
    """The ratio is the median of the rounds', each of which had the same disturbances."""
    ours, theirs = (by_network[network] for network in NETWORKS)
    ratio = statistics.median(one / other for one, other in zip(ours, theirs, strict=True))
    return Result(
        command,
        statistics.median(ours),
        "ms",
        "bridge",
        statistics.median(theirs),
        round(ratio, 3),
        len(ours),
    )


def later(metric: str, by_network: dict[str, list[float]]) -> Result:
    """The median of the pairs' differences."""
    ours, theirs = (by_network[network] for network in NETWORKS)
    value = statistics.median(one - other for one, other in zip(ours, theirs, strict=True))
    return Result(metric, value, "ms", "target", 10.0, round(value / 10.0, 3), len(ours))


if __name__ == "__main__":
    main()
