"""A node in memory: the agent without HTTP and Docker, over stores and a datapath that outlive it."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any

from agent.events import Event
from agent.journal import Journal
from agent.live import LiveSettings, with_kept
from agent.loop import Loop
from agent.operations import realize
from agent.peers import remembered_peers
from agent.realm import AgentRealm
from agent.restore import (
    known_numbers,
    living_endpoints,
    numbered_networks,
    repair,
    restore,
    restored_state,
)
from agent.room import Room
from agent.rules import Rules
from agent.settings import from_environment
from agent.state import State
from agent.step import step
from agent.stored_rules import find_rules
from datapath.memory import MemoryDatapath
from driver.hostfacts import HostFacts
from model.endpoint import Endpoint, EndpointState
from model.labels import Labels
from model.network import Network, Subnet
from store.identities import IdentityAllocator
from store.keys import Keys
from store.kv import Entry, Health, KeyValueStore, Op, Watch
from store.local import LocalStore
from store.memory import MemoryStore
from store.networks import NetworkNumbers
from store.peers import PeerStore
from store.policies import PolicyStore

KEYS = Keys()


class KeptStore:
    """What a store holds, after the process that used it is gone: closing it ends nobody else's use."""

    def __init__(self, store: KeyValueStore) -> None:
        self.inner = store

    def get(self, key: str) -> Entry | None:
        return self.inner.get(key)

    def list(self, prefix: str) -> list[Entry]:
        return self.inner.list(prefix)

    def transact(self, ops: Sequence[Op], *, durable: bool = True, token: str = "") -> int:
        return self.inner.transact(ops, durable=durable)

    def watch(self, prefix: str, since: int = 0) -> Watch:
        return self.inner.watch(prefix, since)

    def health(self) -> Health:
        return self.inner.health()

    def close(self) -> None:
        """The next process opens it again."""


class Node:
    """`links`: the interfaces that the host has, name -> ifindex. What is not given begins empty."""

    def __init__(
        self,
        cluster: KeyValueStore | None = None,
        local: KeyValueStore | None = None,
        datapath: MemoryDatapath | None = None,
        *,
        links: dict[str, int] | None = None,
        room: Room | None = None,
        environment: dict[str, str] | None = None,
        name: str = "one",
    ) -> None:
        self.cluster = cluster or MemoryStore()
        self.local = local or MemoryStore()
        self.datapath = datapath or MemoryDatapath()
        self.links = {} if links is None else links
        self.room = room
        self.settings = from_environment({"CILIATE_NODE": name, **(environment or {})})
        self.name = name
        self.peer_store = PeerStore(self.local)
        self.records = LocalStore(self.local)
        self.identities = IdentityAllocator(self.cluster, KEYS, name, grace=0)
        self.policies, self.last = PolicyStore(self.cluster, KEYS), PolicyStore(self.local, KEYS)
        watch = self.policies.watch()
        self.numbers = NetworkNumbers(self.cluster, KEYS)
        numbers = known_numbers(self.datapath)
        networks = numbered_networks(self.records, self.numbers.number)
        endpoints = living_endpoints(self.records, networks, self.links, self.identities)
        state, self.found = restore(
            self.datapath,
            lambda rules: restored_state(
                with_kept(self.settings, self.records.settings()),
                networks.values(),
                endpoints,
                rules,
                self.facts(),
                numbers,
                remembered_peers(self.peer_store, name),
            ),
            find_rules(watch, self.last),
            self.last,
        )
        self.loop: Loop[State, Event] = Loop(
            state,
            step,
            lambda operations: realize(self.datapath, operations),
            lambda good: repair(self.datapath, good),
        )
        self.journal = Journal()
        self.realm = AgentRealm(self.loop, self.records, self.identities, self.numbers, self.journal)
        self.rules = Rules(self.loop, self.policies, self.last, watch, self.room)
        self.live = LiveSettings(self.settings, self.records, self.loop, self.rules)

    def facts(self) -> HostFacts:
        return HostFacts()

    def start(self) -> Node:
        self.loop.start()
        self.rules.start(self.found)
        return self

    def stop(self) -> None:
        self.rules.stop()
        self.loop.stop()

    def restarted(self) -> Node:
        """The node that follows on this one, which was stopped or killed; not started yet."""
        return type(self)(
            self.cluster, self.local, self.datapath, links=self.links, room=self.room, name=self.name
        )

    @property
    def state(self) -> State:
        return self.loop.state

    def put(self, *rules: dict[str, Any], replacing: Sequence[str] = (), wait: float = 5.0) -> int:
        answer = self.rules.put(
            json.dumps(rules).encode(), "application/json", replace=replacing, wait=wait, dry_run=False
        )
        return int(answer["revision"])

    def network(self, number: int = 0, **options: bool) -> Network:
        network = Network(
            f"n{number}",
            f"n{number}",
            self.realm.new_network_number(),
            (Subnet(ip_network(f"10.{number}.0.0/24"), ip_address(f"10.{number}.0.1")),),
            **options,
        )
        self.realm.put_network(network)
        return network

    def join(self, number: int, role: str, *, in_network: int = 0) -> Endpoint:
        """As the driver does it: created first, then linked with the identity of its labels."""
        made = Endpoint(
            id=self.realm.new_endpoint_id(),
            docker_id=f"e{number}",
            network_id=f"n{in_network}",
            mac="02:42:00:00:00:01",
            ipv4=IPv4Address(f"10.{in_network}.0.{number + 5}"),
        )
        self.realm.put_endpoint(made)
        return self.relabel(f"e{number}", role)

    def relabel(self, docker_id: str, role: str) -> Endpoint:
        endpoint = self.realm.endpoints()[docker_id]
        labels = Labels.parse([f"container:role={role}", f"network:id={endpoint.network_id}"])
        identity = self.realm.identify(labels)
        name, ifindex = f"cl{docker_id}", 100 + int(docker_id[1:])
        self.links[name] = ifindex
        endpoint = replace(
            endpoint,
            labels=labels,
            identity=identity,
            ifname=name,
            ifindex=ifindex,
            state=EndpointState.READY,
        )
        self.realm.put_endpoint(endpoint)
        return self.realm.endpoints()[docker_id]


def allow(to: str, *roles: str) -> dict[str, Any]:
    """Endpoints with role `to` admit those with one of these roles, on TCP port 80."""
    return {
        "endpointSelector": {"matchLabels": {"role": to}},
        "ingress": [
            {
                "fromEndpoints": [{"matchLabels": {"role": role}} for role in roles],
                "toPorts": [{"ports": [{"port": "80", "protocol": "TCP"}]}],
            }
        ],
        "labels": [f"to={to}"],
    }


def until(condition: Any, seconds: float = 10.0) -> None:
    pause = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        pause.wait(0.02)
    raise AssertionError(f"not within {seconds:g} s")
