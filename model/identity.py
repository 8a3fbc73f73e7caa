"""Numeric identities: who a packet is from or for, as one 32-bit number."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from model.labels import Label, Labels


class Reserved(IntEnum):
    """Identities with a fixed number, never allocated. Numbers as Cilium uses them."""

    UNKNOWN = 0
    HOST = 1
    WORLD = 2
    UNMANAGED = 3
    HEALTH = 4
    INIT = 5
    REMOTE_NODE = 6
    WORLD_IPV4 = 9
    WORLD_IPV6 = 10

    @property
    def label(self) -> Label:
        return Label("reserved", self.name.lower().replace("_", "-"))

    @property
    def labels(self) -> Labels:
        """World of one family also carries the family-less label, so that `world` selects it."""
        if self in (Reserved.WORLD_IPV4, Reserved.WORLD_IPV6):
            return Labels([self.label, Reserved.WORLD.label])
        return Labels([self.label])


CLUSTER_FIRST, CLUSTER_LAST = 256, 65535
"""Allocated in the store, the same on every node, fit for the wire."""

CLUSTER_ID_SHIFT, CLUSTER_ID_BITS = 16, 8
"""Bits 16-23 hold the cluster id: 0 until clusters are joined."""

LOCAL_FIRST, LOCAL_LAST = 1 << 24, (1 << 25) - 1
"""CIDR and FQDN identities: known to one node alone, never on the wire."""


def is_cluster(identity: int) -> bool:
    return identity & ((1 << CLUSTER_ID_SHIFT) - 1) >= CLUSTER_FIRST and identity < LOCAL_FIRST


def is_local(identity: int) -> bool:
    return LOCAL_FIRST <= identity <= LOCAL_LAST


@dataclass(frozen=True, slots=True)
class Identity:
    number: int
    labels: Labels
