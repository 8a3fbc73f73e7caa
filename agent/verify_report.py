"""PURE. What a verification is asked for, what it asks about, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass

from agent.verify_facts import Container
from datapath.ruling import Ruling
from model.identity import Reserved
from model.labels import Labels
from model.network import IPAddress

PACKETS = 8
"""Asked about at each pair of ends, beside the answers to those that pass."""

End = int | IPAddress
"""A container by its endpoint's number, or an address that is no container's."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One packet to ask about. `port`: the destination's; ICMP: the type. `published`: the host's stack has it for the
    destination, because the source called a published port."""

    source: End
    destination: End
    version: int
    protocol: int
    port: int
    published: bool = False


@dataclass(frozen=True, slots=True)
class Party:
    """`identity`: the number that the entries are made for. `labels`: what the rules see; an address of the world has
    a label of its own, as if it were an identity of its own. `network`: the number of a container's network, 0 if it is
    none. `container`: one of this node."""

    address: IPAddress
    identity: int
    labels: Labels
    network: int = 0
    container: Container | None = None

    @property
    def is_elsewhere(self) -> bool:
        """Another node, or a container behind one."""
        return self.identity == Reserved.REMOTE_NODE or (self.container is None and self.network != 0)


@dataclass(frozen=True, slots=True)
class Meeting:
    """`origin`: the interface by which the host's stack got the packet; 0: it is the host's own; None: the source
    sends it through its own interface."""

    source: Party
    destination: Party
    origin: int | None
    published: bool


@dataclass(frozen=True, slots=True)
class Disagreement:
    """`packet`: which one of the flow. `meeting`: who the ends are."""

    probe: Probe
    packet: str
    meeting: Meeting
    rules: Ruling
    twin: Ruling
    kernel: Ruling


@dataclass(frozen=True, slots=True)
class Request:
    """`pairs`: how many to ask about; 0: all. `again`: instead, just these packets. `seconds`: after which it ends."""

    pairs: int
    seconds: float
    seed: int
    packets: int = PACKETS
    again: tuple[Probe, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """`pairs` of `of` pairs were asked about; `complete`: as many as were wanted. `disagreements`: the first ones."""

    pairs: int
    of: int
    packets: int
    complete: bool
    disagreements: tuple[Disagreement, ...]
