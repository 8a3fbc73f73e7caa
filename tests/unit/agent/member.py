"""A node of a cluster, in memory but for its store."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv4Address, ip_address, ip_network

from agent.namer import Namer
from agent.peers import Peers
from agent.publisher import Publisher
from datapath.tables import IpcacheEntry
from driver.hostfacts import HostFacts
from model.errors import Unavailable
from model.network import IPNetwork
from store.keys import HOLDER
from store.kv import KeyValueStore, Set
from tests.unit.agent.node import KEYS, Node

NUMBERS = {"one": 0, "two": 1, "three": 2}


class Member(Node):
    """A node of a cluster. Its slice of the pool has its number: node two is 192.0.2.1 and has 10.1.0.0/24."""

    def __init__(self, cluster: KeyValueStore, *more: object, name: str = "one", **others: object) -> None:
        self.number = NUMBERS[name]
        super().__init__(cluster, *more, name=name, **others)  # type: ignore[arg-type]
        self.now = 0.0
        self.namer = Namer(self.loop, lambda container, network: self.aliases.get(container, ()))
        self.aliases: dict[str, list[str]] = {}
        self.publisher = Publisher(self.loop, cluster, KEYS, name, self.slices, self.namer.names)
        self.peers = Peers(self.loop, cluster, KEYS, name, self.peer_store, clock=lambda: self.now)

    def facts(self) -> HostFacts:
        return HostFacts(outer=(ip_address(f"192.0.2.{self.number}"),))

    def slices(self) -> list[IPNetwork]:
        return [ip_network(f"10.{self.number}.0.0/24")]

    def start(self) -> Member:
        with suppress(Unavailable):
            self.cluster.transact([Set(KEYS.slice(one), HOLDER.encode(self.name)) for one in self.slices()])
        super().start()
        return self

    def go(self) -> None:
        """Tells and hears what there is."""
        self.namer.look()
        self.publisher.publish()
        self.hear()

    def hear(self) -> None:
        for _ in range(4):
            self.peers.follow(0)

    def entry(self, address: str) -> IpcacheEntry | None:
        return self.datapath.ipcache.get(ip_network(address))

    def knows(self, other: Member, number: int) -> bool:
        """The container of this number on the other node, by its address, labels and node."""
        endpoint = other.realm.endpoints()[f"e{number}"]
        entry = self.entry(f"10.{other.number}.0.{number + 5}")
        return (
            entry is not None
            and entry.identity == endpoint.identity
            and entry.tunnel == IPv4Address(f"192.0.2.{other.number}")
            and self.state.known_identities().get(endpoint.identity) == endpoint.labels
        )
