"""What a policy map holds, in host order. PURE."""

from __future__ import annotations

from dataclasses import dataclass

from model.flow import Direction


@dataclass(frozen=True, slots=True, order=True)
class PolicyKey:
    """Identity 0: any peer. Protocol 0: any (then `port_bits` is 0). `port_bits` 0: any port; 16: exactly
    `port`; else the ports that agree with `port` in that many leading bits. ICMP: the port is the type."""

    direction: Direction
    identity: int = 0
    protocol: int = 0
    port: int = 0
    port_bits: int = 0


@dataclass(frozen=True, slots=True)
class PolicyEntry:
    deny: bool = False
    proxy_port: int = 0
    cookie: int = 0
