"""A node without a network: both programs over maps of their own, run on one packet at a time.

Whatever a test is about, each run is held to what must be true of all: exactly one counter goes up, by
one packet and its length, before or after; what is dropped has a reason, and one event that tells it; what
passes has no reason, and an event only if it is news.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path

from datapath import syscall
from datapath.abi import CtEntry
from datapath.decode import decode
from datapath.kernel import KernelDatapath
from datapath.kernel_map import KernelMap
from datapath.pins import maps_directory, open_map, open_program
from datapath.ringbuf import RingBuffer
from datapath.tables import ConntrackRecord, EndpointEntry, IpcacheEntry
from model.flow import Direction, DropReason, EventType, FlowEvent, Verdict
from policy.mapstate import PolicyEntry, PolicyKey
from tests.kernel.packets import GATEWAY_MAC, Payload, ethernet, ip

CACHE = Path(__file__).parents[2] / "build" / "bpf"

SIZES = {
    "endpoints": 64,
    "hosts4": 4096,
    "hosts6": 4096,
    "prefixes4": 1024,
    "prefixes6": 1024,
    "policies": 64,
    "inner": 4096,
    "ct4": 4096,
    "ct6": 4096,
    "fragments4": 64,
    "fragments6": 64,
    "devices": 64,
    "names": 64,
    "events": 65536,
}

FLOWS = {"ct4": 16, "ct6": 40}
FRAGMENTS = {"fragments4": 12, "fragments6": 40}
"""Maps that only the programs write, and the sizes of their keys."""

UPLINK, BRIDGE = 20, 21
"""Interfaces of the node: to the world, and another engine's bridge."""

OPEN: Mapping[PolicyKey, PolicyEntry] = {PolicyKey(direction): PolicyEntry() for direction in Direction}
"""What the agent writes where no rule enforces anything."""


SEALED: Mapping[PolicyKey, PolicyEntry] = {PolicyKey(Direction.EGRESS): PolicyEntry()}
"""Nobody may call; it may call anybody."""


class Action(IntEnum):
    """What the kernel does with the packet: TC_ACT_*."""

    STACK = 0
    DROP = 2
    REDIRECT = 7


@dataclass(frozen=True)
class Container:
    """`number` is ifindex, endpoint id and policy slot in one."""

    number: int
    identity: int
    ipv4: str
    ipv6: str
    mac: str
    network: int = 2
    flags: int = 0

    @property
    def endpoint(self) -> EndpointEntry:
        return EndpointEntry(
            identity=self.identity,
            network=self.network,
            policy=self.number,
            flags=self.flags,
            ipv4=IPv4Address(self.ipv4) if self.ipv4 else None,
            ipv6=IPv6Address(self.ipv6) if self.ipv6 else None,
            id=self.number,
            mac=self.mac,
        )

    @property
    def address(self) -> IpcacheEntry:
        return IpcacheEntry(
            identity=self.identity,
            network=self.network,
            ifindex=self.number,
            policy=self.number,
            flags=self.flags,
            id=self.number,
            mac=self.mac,
        )


A = Container(11, 1000, "10.200.1.2", "fd00::2", "02:42:0a:c8:01:02")
B = Container(12, 1001, "10.200.1.3", "fd00::3", "02:42:0a:c8:01:03")
OTHER = Container(13, 1002, "10.200.2.2", "fd00:2::2", "02:42:0a:c8:02:02", network=3)
"""On a network of its own."""

HOST4, HOST6 = "192.0.2.1", "2001:db8::1"
WORLD4, WORLD6 = "198.51.100.7", "2001:db8:ffff::7"
LISTED4, LISTED6, LISTED = "203.0.113.9", "2001:db8:aaaa::9", 1 << 24
"""World addresses that a rule names by prefix, and the identity of the first's prefix; the second's is the
next."""
UNKNOWN4, UNKNOWN6 = "10.200.1.99", "fd00::99"
"""In our pools, but nobody's."""
UNMANAGED4 = "172.17.0.2"

ADDRESSES = {
    HOST4: IpcacheEntry(1),
    HOST6: IpcacheEntry(1),
    "10.200.0.0/16": IpcacheEntry(0),
    "fd00::/16": IpcacheEntry(0),
    "203.0.113.0/24": IpcacheEntry(LISTED),
    "2001:db8:aaaa::/48": IpcacheEntry(LISTED + 1),
    "172.17.0.0/16": IpcacheEntry(3),
}


@dataclass(frozen=True)
class Outcome:
    action: Action
    reason: DropReason
    direction: Direction
    data: bytes
    """The packet afterwards."""
    event: FlowEvent | None

    @property
    def passed(self) -> bool:
        return self.action is not Action.DROP


def context(ifindex: int, ingress_ifindex: int = 0) -> bytes:
    """A `struct __sk_buff` with all that TEST_RUN takes over."""
    return struct.pack("36xII148x", ingress_ifindex, ifindex)


class Node:
    def __init__(self, root: Path) -> None:
        """Over what the loader pinned below `root`."""
        self.datapath = KernelDatapath(root, inner_entries=SIZES["inner"])
        self.programs = {name: open_program(root, name) for name in ("from_container", "to_container")}
        self.ring = RingBuffer(maps_directory(root) / "events")
        self._flows = [KernelMap(name, open_map(root, name), size, 64, 0) for name, size in FLOWS.items()]
        self._fragments = [
            KernelMap(name, open_map(root, name), size, 4, 0) for name, size in FRAGMENTS.items()
        ]

    def reset(self) -> None:
        """Two containers on a network, a third on another, and nothing else that ever happened."""
        for table in (self.datapath.endpoints, self.datapath.ipcache, self.datapath.devices):
            table.delete_many([key for key, _ in table.items()])  # type: ignore[attr-defined]
        self.datapath.collect_conntrack((1 << 63) - 1, ())
        for fragments in self._fragments:
            fragments.delete_many([key for key, _ in fragments.items()])
        self.ring.take(1 << 20)
        self.datapath.ipcache.put_many({ip_network(text): entry for text, entry in ADDRESSES.items()})
        self.datapath.devices.put(UPLINK, 1)
        containers = (A, B, OTHER)
        # All in one: each publication waits for the kernel's readers.
        self.datapath.replace_policies({container.number: OPEN for container in containers})
        for container in containers:
            self.add(container)

    def close(self) -> None:
        self.ring.close()
        self.datapath.close()
        for fd in (*self.programs.values(), *(table.fd for table in (*self._flows, *self._fragments))):
            os.close(fd)

    def add(self, container: Container) -> None:
        """As the agent does it; a second time with changed facts replaces the first."""
        self.datapath.endpoints.put(container.number, container.endpoint)
        for address in filter(None, (container.ipv4, container.ipv6)):
            self.datapath.ipcache.put(ip_network(address), container.address)
        self.datapath.bump_epoch()

    def change(self, container: Container, **facts: object) -> Container:
        changed = replace(container, **facts)  # type: ignore[arg-type]
        self.add(changed)
        return changed

    def remove(self, container: Container) -> None:
        self.datapath.endpoints.delete(container.number)
        for address in filter(None, (container.ipv4, container.ipv6)):
            self.datapath.ipcache.delete(ip_network(address))
        self.datapath.bump_epoch()

    def allow(self, container: Container, policy: Mapping[PolicyKey, PolicyEntry]) -> None:
        """This is all of the container's policy from now on."""
        self.datapath.replace_policies({container.number: policy})
        self.datapath.bump_epoch()

    def send(self, container: Container, destination: str, payload: Payload) -> Outcome:
        """An ordinary packet of a container, to an address of either family."""
        return self.send_frame(container, self.frame(container, destination, payload))

    @staticmethod
    def frame(container: Container, destination: str, payload: Payload) -> bytes:
        source = container.ipv6 if ":" in destination else container.ipv4
        return ethernet(*ip(source, destination, payload), source=container.mac)

    def send_frame(self, container: Container, frame: bytes) -> Outcome:
        return self._run("from_container", frame, context(container.number))

    def receive(
        self, container: Container, source: str, payload: Payload, *, origin: int = UPLINK
    ) -> Outcome:
        """An ordinary packet that the host's stack has for a container. `origin`: the interface that it
        came in by; 0: the host's own."""
        destination = container.ipv6 if ":" in source else container.ipv4
        frame = ethernet(*ip(source, destination, payload), source=GATEWAY_MAC, destination=container.mac)
        return self.receive_frame(container, frame, origin=origin)

    def receive_frame(self, container: Container, frame: bytes, *, origin: int = UPLINK) -> Outcome:
        return self._run("to_container", frame, context(container.number, origin))

    def _run(self, program: str, frame: bytes, skb: bytes) -> Outcome:
        while self.ring.take(1024):
            pass  # left by runs whose events nobody wanted
        before = self.datapath.metrics()
        run = self.run_unread(program, frame, skb)
        changed = [
            (key, packets - before.get(key, (0, 0))[0], octets - before.get(key, (0, 0))[1])
            for key, (packets, octets) in self.datapath.metrics().items()
            if (packets, octets) != before.get(key, (0, 0))
        ]
        assert len(changed) == 1, f"one counter, not {changed}"
        (reason, direction), packets, octets = changed[0]
        assert packets == 1 and octets in (len(frame), len(run.data))
        action = Action(run.result)
        assert (action is Action.DROP) == (reason not in (DropReason.NONE, DropReason.AUDITED))
        events = [decode(record) for record in self.ring.take(8)]
        event = events[0] if events else None
        if event is None:
            assert action is not Action.DROP or self.datapath.lost_events()
        else:
            assert len(events) == 1
            self._check_event(event, action, reason, len(frame))
        return Outcome(action, reason, direction, run.data, event)

    def run_unread(self, program: str, frame: bytes, skb: bytes) -> syscall.TestRun:
        """Without a look at counters and events."""
        return syscall.run_program(self.programs[program], frame, context=skb)

    @staticmethod
    def _check_event(event: FlowEvent, action: Action, reason: DropReason, length: int) -> None:
        dropped = action is Action.DROP
        assert event.type is (EventType.DROP if dropped else EventType.POLICY_VERDICT)
        assert event.length == length
        if reason is DropReason.AUDITED:
            assert event.verdict is Verdict.AUDIT
            assert event.reason in (DropReason.POLICY_DENIED, DropReason.POLICY_DENY_RULE)
            return
        assert event.verdict is (Verdict.DROPPED if dropped else Verdict.FORWARDED)
        assert event.reason is reason

    def flows(self) -> list[ConntrackRecord]:
        return list(self.datapath.conntrack())

    def flow(self) -> ConntrackRecord:
        """The only one there is."""
        (flow,) = self.flows()
        return flow

    def let_pass(self, seconds: float) -> None:
        """As if so much time had gone by since each flow's last packet."""
        for flows in self._flows:
            for key, value in list(flows.items()):
                entry = CtEntry.from_buffer_copy(value)
                entry.expires -= int(seconds * 1e9)
                syscall.update(flows.fd, key, bytes(entry))
