"""From rules to what the kernel is told: a thousand rules for five hundred identities, one identity more, ten thousand
prefixes in one rule; and what becomes of it in real maps. As the agent does it, and held against what it promises."""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, ip_network
from pathlib import Path
from typing import Any, TypeVar

from immutables import Map

from agent.desired import desired, diff, realized
from agent.events import EndpointPut, Event, NetworkPut, PolicyResolved
from agent.operations import realize
from agent.resolution import Resolution, resolve_all
from agent.state import RESERVED, State
from agent.step import begin, step
from bench._report import Result, write
from datapath.kernel import KernelDatapath
from datapath.maps import sized
from datapath.pins import mount_bpffs, open_or_create_maps, prepare, unmount
from model.endpoint import Endpoint, EndpointState
from model.labels import Labels
from model.network import Network, Subnet
from policy.repository import Repository
from policy.rule import Rule
from policy.schema import load_rules
from policy.selections import Selections

RULES, IDENTITIES, PREFIXES = 1000, 500, 10_000
RUNS = 9

POOL = ip_network("10.200.0.0/16")
NETWORK = Network("n", "n", 2, (Subnet(POOL, None),))

Document = dict[str, Any]

T = TypeVar("T")


def main() -> None:
    node = node_with(IDENTITIES)
    own, shared = rules_of_their_own(), rules_for_all()
    busy, busier = in_force(node, own), in_force(node, shared)
    newcomer = EndpointPut(endpoint(IDENTITIES))

    def resolve(rules: tuple[Rule, ...]) -> object:
        return resolve_all(node, Repository(rules))

    def enforce(documents: list[Document]) -> object:
        return in_force(node, documents)

    with kernel() as datapath:
        realize(datapath, diff(desired(node), realized(datapath, 1)))

        def publish(documents: list[Document]) -> State:
            event = PolicyResolved(resolve_all(node, Repository(load_rules(documents))))
            return enter(datapath, node, event)

        def replace_all(resolution: Resolution) -> State:
            return enter(datapath, node, PolicyResolved(resolution))

        in_kernel = [
            compare(
                "1,000 rules, all for all, into the kernel",
                200,
                replace_all,
                lambda: resolution_of(node, shared),
            ),
            compare(
                "1,000 rules, each its own, into the kernel",
                1000,
                replace_all,
                lambda: resolution_of(node, own),
            ),
            compare("10,000 CIDRs, into the kernel", 2000, publish, lambda: renamed(rule_of_prefixes())),
            compare(
                "10,000 CIDRs excepted, into the kernel", 2000, publish, lambda: renamed(rule_of_excepts())
            ),
        ]
        many = publish(rule_of_prefixes())
        in_kernel.append(
            compare(
                "one like 500 with 10,000 CIDRs, into the kernel",
                50,
                lambda state: enter(datapath, state, newcomer),
                lambda: many,
            )
        )
    write(
        "policy",
        [
            *in_kernel,
            compare("read 1,000 rules", 500, load_rules, lambda: renamed(own)),
            compare("resolve 1,000 rules, each its own", 500, resolve, lambda: load_rules(renamed(own))),
            compare("resolve 1,000 rules, all for all", 500, resolve, lambda: load_rules(renamed(shared))),
            compare("one identity more, each its own", 5, lambda state: step(state, newcomer), lambda: busy),
            compare("one identity more, all for all", 5, lambda state: step(state, newcomer), lambda: busier),
            compare("enforce 10,000 CIDRs", 2000, enforce, lambda: renamed(rule_of_prefixes())),
            compare("enforce 10,000 CIDRs excepted", 2000, enforce, lambda: renamed(rule_of_excepts())),
        ],
    )


def compare(metric: str, target: float, work: Callable[[T], object], prepare: Callable[[], T]) -> Result:
    """Milliseconds, the median of RUNS."""
    took = []
    for _ in range(RUNS):
        ready = prepare()
        begun = time.perf_counter()
        work(ready)
        took.append(1000 * (time.perf_counter() - begun))
    value = statistics.median(took)
    return Result(metric, value, "ms", "target", target, round(value / target, 3), RUNS)


@contextmanager
def kernel() -> Iterator[KernelDatapath]:
    """Maps of their own, of the sizes that a node has."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory) / "bpf"
        mount_bpffs(root)
        try:
            prepare(root)
            for fd in open_or_create_maps(root, sized({}))[0].values():
                os.close(fd)
            with KernelDatapath(root) as datapath:
                yield datapath
        finally:
            unmount(root)


def enter(datapath: KernelDatapath, state: State, event: Event) -> State:
    after, operations = step(state, event)
    realize(datapath, operations)
    return after


def resolution_of(node: State, documents: list[Document]) -> Resolution:
    return resolve_all(node, Repository(load_rules(renamed(documents))))


def in_force(node: State, documents: list[Document]) -> State:
    after, _ = step(node, PolicyResolved(resolve_all(node, Repository(load_rules(documents)))))
    return after


def renamed(documents: list[Document]) -> list[Document]:
    """Rules that were not read before: those that are still held are not read twice."""
    return [document | {"description": str(time.perf_counter_ns())} for document in documents]


def node_with(endpoints: int) -> State:
    """Each with an identity of its own."""
    state = begin(State(selections=Selections(identities=Map(RESERVED))), (POOL,))
    state, _ = step(state, NetworkPut(NETWORK))
    for number in range(endpoints):
        state, _ = step(state, EndpointPut(endpoint(number)))
    return state


def endpoint(number: int) -> Endpoint:
    labels = [f"container:app={app(number)}", f"container:tier=t{number % 5}", f"compose:service=s{number}"]
    return Endpoint(
        id=number + 1,
        docker_id=f"e{number}",
        network_id=NETWORK.docker_id,
        mac="02:42:00:00:00:01",
        ipv4=IPv4Address(int(POOL.network_address) + number + 2),
        ifindex=number + 2,
        labels=Labels.parse([*labels, "network:id=n"]),
        identity=256 + number,
        state=EndpointState.READY,
    )


def app(number: int) -> str:
    """The newcomer has the app of another: selectors that know it are kept."""
    return f"a{number % IDENTITIES}"


def rules_of_their_own() -> list[Document]:
    """Each about one app, which hears three others on a port and a range; and a few about the world, for all."""
    draw = random.Random(1)
    ports = [{"port": "80", "protocol": "TCP"}, {"port": "8000", "endPort": 8999, "protocol": "TCP"}]
    found: list[Document] = [
        {
            "endpointSelector": {"matchLabels": {"app": app(number)}},
            "ingress": [
                {
                    "fromEndpoints": [
                        {"matchLabels": {"app": app(draw.randrange(IDENTITIES))}} for _ in range(3)
                    ],
                    "toPorts": [{"ports": ports}],
                }
            ],
        }
        for number in range(RULES - 10)
    ]
    found += [
        {
            "endpointSelector": {},
            "egress": [{"toEntities": ["world"], "toPorts": [{"ports": [{"port": str(1000 + number)}]}]}],
        }
        for number in range(10)
    ]
    return found


def rules_for_all() -> list[Document]:
    """Each about every container: one app may come in on one port."""
    draw = random.Random(2)
    return [
        {
            "endpointSelector": {},
            "ingress": [
                {
                    "fromEndpoints": [{"matchLabels": {"app": app(draw.randrange(IDENTITIES))}}],
                    "toPorts": [{"ports": [{"port": str(1 + number), "protocol": "TCP"}]}],
                }
            ],
        }
        for number in range(RULES)
    ]


def prefixes() -> list[str]:
    return [f"{20 + (number >> 16)}.{number >> 8 & 255}.{number & 255}.0/24" for number in range(PREFIXES)]


def rule_of_prefixes() -> list[Document]:
    return [{"endpointSelector": {}, "egress": [{"toCIDR": prefixes()}]}]


def rule_of_excepts() -> list[Document]:
    return [
        {"endpointSelector": {}, "egress": [{"toCIDRSet": [{"cidr": "0.0.0.0/0", "except": prefixes()}]}]}
    ]


if __name__ == "__main__":
    main()
