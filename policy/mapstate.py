"""The contents of one policy map: keys and entries as datapath/bpf/abi.h lays them out, in host order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from model.flow import Direction


class PolicyKey(NamedTuple):
    """Longest prefix over `identity` and `direction` (always whole), `protocol` (0: any, then there is no
    port), `port` (the first `port_bits` bits count; 0: any port, 16: exactly this one; ICMP: the type).
    Identity 0 stands for any peer. A tuple, because maps of them are built by the hundred thousand."""

    direction: Direction
    identity: int = 0
    protocol: int = 0
    port: int = 0
    port_bits: int = 0


class PolicyEntry(NamedTuple):
    """`proxy_port` 0: no L7. `cookie` means something to the agent only."""

    deny: bool = False
    proxy_port: int = 0
    cookie: int = 0


MapState = Mapping[PolicyKey, PolicyEntry]
