"""A node whose rules and containers change at random, in the way in which an agent changes them: event, step, kernel.
After each change the comparison of `ciliate policy verify` says whether rules, twin and programs still agree."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path
from random import Random

from hypothesis import strategies as st
from immutables import Map

from agent.events import (
    AuditSet,
    EndpointPut,
    EndpointRemoved,
    Event,
    HostChanged,
    NetworkPut,
    PeersSynced,
    PolicyResolved,
    SlotsWanted,
)
from agent.operations import Operation, realize
from agent.resolution import resolve_all
from agent.restore import repair
from agent.state import RESERVED, RemoteNode, State
from agent.step import begin, step
from agent.verify_compare import Comparison
from agent.verify_facts import facts_of
from agent.verify_report import Disagreement, Report, Request
from datapath.compile import SOURCES
from datapath.dry import DryRun
from datapath.features import probe
from datapath.kernel import KernelDatapath
from datapath.loader import obtain
from datapath.pins import mount_bpffs, unmount
from datapath.tables import NodeEntry, Routing
from driver.hostfacts import HostFacts
from model.endpoint import Endpoint, EndpointState
from model.identity import Reserved
from model.labels import Labels
from model.network import ELSEWHERE, FLAT, Network, Subnet
from policy.repository import Repository
from policy.rule import Rule
from policy.schema import load_rules
from policy.selections import Selections
from store.keys import IPRecord
from tests.kernel import netns
from tests.kernel.harness import CACHE, SIZES, UPLINK
from tests.unit.policy.drawing import CONTAINERS, PACKETS, Case, Document, cases

INTERFACES = range(31, 39)
"""One for each container."""

POOLS = (ip_network("10.200.0.0/16"), ip_network("fd00:c111::/48"))

HOST = HostFacts(
    addresses=frozenset(
        map(
            ip_network,
            ["192.0.2.1/32", "192.0.2.255/32", "10.96.0.0/30", "198.51.100.0/28", "2001:db8:1::1/128"],
        )
    ),
    uplinks={UPLINK: "eth0"},
    unmanaged=frozenset(map(ip_network, ["172.17.0.0/16", "10.100.0.0/24", "2001:db8:2::/64"])),
)
"""Some of it lies inside prefixes that rules name."""

NETWORKS = [
    Network(
        docker_id=f"n{number}",
        id=f"n{number}",
        number=number + 1,
        subnets=(
            Subnet(ip_network(f"10.200.{number}.0/24"), ip_address(f"10.200.{number}.1")),
            Subnet(ip_network(f"fd00:c111:0:{number}::/64"), ip_address(f"fd00:c111:0:{number}::1")),
        ),
        host=number != 3,
        world=number != 3,
        inter_container=number != 3,
    )
    for number in (1, 2, 3)
]
"""The third forbids what a network can forbid."""

LOAD = f"""
import sys
from pathlib import Path
from datapath.loader import load

root, cache, sources = map(Path, sys.argv[1:])
load(root, cache, {SIZES | {"policies": 128}}, sources=sources)
"""

NEIGHBOUR = NodeEntry(Routing.TUNNEL, 40, 1450, IPv4Address("192.0.2.1"), 80)
"""This node. Its tunnel has a port that rules name, too."""

ELSEWHERES = (*(network.number for network in NETWORKS), FLAT, ELSEWHERE)

OTHER_NODE = RemoteNode(
    addresses=tuple(map(ip_address, ["192.0.2.9", "10.96.0.1", "2001:db8:1::9"])),
    tunnel=IPv4Address("192.0.2.9"),
    slices=frozenset(map(ip_network, ["10.200.9.0/24", "fd00:c111:0:9::/64"])),
    ips=Map(
        {
            ip_network(f"{pool}{number}"): IPRecord(identity, ELSEWHERES[number % len(ELSEWHERES)])
            for number, identity in enumerate(CONTAINERS, 2)
            for pool in ("10.200.9.", "fd00:c111:0:9::")
        }
    ),
)
"""One of its addresses is one that rules name."""

Story = Sequence[Case]
"""Rule sets, one after the other. The first also says how the networks are."""

stories = st.lists(cases, min_size=1, max_size=3)


class World:
    """What may be done wrong: `spoil` changes what the kernel is told, `read` how rules are understood."""

    spoil: Callable[[Sequence[Operation]], Sequence[Operation]]
    read: Callable[[Sequence[Document]], tuple[Rule, ...]]

    def __init__(self, root: Path, datapath: KernelDatapath, dry: DryRun) -> None:
        self.root = root
        self.datapath = datapath
        self.dry = dry
        self.make_no_mistake()
        self.state = begin(State(selections=Selections(identities=Map(RESERVED))), POOLS)
        repair(datapath, self.state)
        self.take(HostChanged(HOST))
        self.take(SlotsWanted())
        self.take(PeersSynced({"other": OTHER_NODE}, CONTAINERS))

    def make_no_mistake(self) -> None:
        self.spoil = lambda operations: operations
        self.read = lambda documents: load_rules(list(documents))

    def begin(self, case: Case) -> None:
        """Eight containers and no rules, whatever was before."""
        for name in list(self.state.endpoints):
            self.take(EndpointRemoved(name))
        self.take(PolicyResolved(resolve_all(self.state, Repository())))
        self.take(SlotsWanted())
        chance = Random(case.seed)
        flat = chance.random() < 0.75
        self.datapath.set_node(
            chance.choice([NEIGHBOUR, NodeEntry(Routing.NATIVE, address=NEIGHBOUR.address), NodeEntry()])
        )
        for network in NETWORKS:
            open_network = replace(network, number=FLAT, host=True, world=True, inter_container=True)
            self.take(NetworkPut(open_network if flat else network))
        for place in range(len(INTERFACES)):
            self.take(EndpointPut(_endpoint(place, place)))

    def change(self, case: Case) -> None:
        """To these rules. Containers come, go, or become others, while the rules are being resolved and afterwards."""
        chance = Random(case.seed)
        repository = Repository().add(self.read(case.rules))
        repository = repository.set_named("tried", self.read(case.audited), audit=True)
        resolution = resolve_all(self.state, repository, enforcement=case.mode)
        self._churn(chance)
        self.take(PolicyResolved(resolution))
        self._churn(chance)
        self.take(AuditSet(chance.random() < 0.05))

    def ask(self, seed: int, packets: int = PACKETS) -> Report:
        self.dry.forget()
        request = Request(pairs=packets, seconds=600, seed=seed, packets=1)
        return Comparison(facts_of(self.state, self.datapath.node()), self.dry).run(request)

    def take(self, event: Event) -> None:
        self.state, operations = step(self.state, event)
        realize(self.datapath, self.spoil(operations))

    def _churn(self, chance: Random) -> None:
        for _ in range(chance.choice([0, 0, 1, 2, 4])):
            place = chance.randrange(len(INTERFACES))
            if chance.random() < 0.5:
                self.take(EndpointRemoved(f"e{place}"))
            if chance.random() < 0.1:
                self.take(SlotsWanted())
            if chance.random() < 0.8:
                kind = chance.randrange(len(CONTAINERS) + 1)
                self.take(EndpointPut(replace(_endpoint(place, kind), audit=chance.random() < 0.1)))


def _endpoint(place: int, kind: int) -> Endpoint:
    """`place` says its number, network, interface and addresses; `kind` whose labels it has: those that are too many
    have none yet."""
    network = place % len(NETWORKS) + 1
    named = list(CONTAINERS)[kind : kind + 1]
    return Endpoint(
        id=place + 1,
        docker_id=f"e{place}",
        network_id=f"n{network}",
        mac=f"02:42:0a:c8:00:{place + 2:02x}",
        ipv4=ip_address(f"10.200.{network}.{place + 2}"),  # type: ignore[arg-type]
        ipv6=ip_address(f"fd00:c111:0:{network}::{place + 2:x}"),  # type: ignore[arg-type]
        ifname=f"test{INTERFACES[place]}",
        ifindex=INTERFACES[place],
        container_name=f"c{place}",
        labels=CONTAINERS[named[0]] if named else Labels(),
        identity=named[0] if named else int(Reserved.INIT),
        state=EndpointState.READY if named else EndpointState.WAITING_FOR_LABELS,
    )


@dataclass
class Proof:
    """What has been shown."""

    sets: int = 0
    pairs: int = 0
    packets: int = 0


def prove(world: World, story: Story, proof: Proof, packets: int = PACKETS) -> None:
    """AssertionError with what disagrees, if anything does."""
    world.begin(story[0])
    for number, case in enumerate(story):
        world.change(case)
        report = world.ask(case.seed, packets)
        assert not report.disagreements, f"after rule set {number}:\n{told(report.disagreements[:3])}"
        proof.sets += 1
        proof.pairs += report.pairs
        proof.packets += report.packets


def told(disagreements: Iterable[Disagreement]) -> str:
    """For who looks for the mistake."""
    return "\n".join(
        f"{each.packet} of {each.probe}\n  from {each.meeting.source}\n  to {each.meeting.destination}\n"
        f"  rules: {each.rules}\n  twin: {each.twin}\n  kernel: {each.kernel}"
        for each in disagreements
    )


@contextmanager
def proving_ground(directory: Path, sources: Path = SOURCES) -> Iterator[World]:
    """A node in a network namespace of its own, with programs of these sources; gone afterwards."""
    root = directory / "bpf"
    mount_bpffs(root)
    try:
        # In a process of its own, so that a compiler does not stay here.
        subprocess.run([sys.executable, "-c", LOAD, root, CACHE, sources], check=True)
        programs, _ = obtain(CACHE, probe(), sources=sources)
        with netns.entered():
            for number in (UPLINK, *INTERFACES):
                link = ["ip", "link", "add", f"test{number}", "index", str(number), "type", "veth"]
                subprocess.run(link, check=True)
            with (
                KernelDatapath(root, inner_entries=SIZES["inner"]) as datapath,
                DryRun(root, programs) as dry,
            ):
                yield World(root, datapath, dry)
    finally:
        unmount(root)
