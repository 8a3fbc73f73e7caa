"""The Python twin of datapath/bpf/separation.h: what may talk at all, whatever the rules say. PURE.

1. One end is not known.
2. Both are in networks, but not the same.
3. One has no labels yet, the other is another node or behind one.
4. An end's network forbids the other."""

from __future__ import annotations

from dataclasses import dataclass

from model.flow import DropReason
from model.identity import Reserved, is_local
from model.network import Network

_WORLD = {Reserved.WORLD, Reserved.WORLD_IPV4, Reserved.WORLD_IPV6}


@dataclass(frozen=True, slots=True)
class End:
    """`network`: whose bans hold for it; None if it is in none. `elsewhere`: it is another node, or behind one."""

    identity: int
    network: Network | None
    elsewhere: bool = False


def separation(opener: End, responder: End) -> DropReason:
    """NONE if they may talk. Ports that are published are not its subject."""
    if not opener.identity:  # 1
        return DropReason.UNKNOWN_SENDER
    if not responder.identity:
        return DropReason.UNKNOWN_DESTINATION
    if opener.network and responder.network and opener.network.number != responder.network.number:  # 2
        return DropReason.NETWORKS_SEPARATE
    if any(
        one.identity == Reserved.INIT and other.elsewhere  # 3
        for one, other in ((opener, responder), (responder, opener))
    ):
        return DropReason.INIT_STAYS
    return _ban(opener, responder) or _ban(responder, opener)  # 4


def _ban(local: End, peer: End) -> DropReason:
    network = local.network
    if network is None:
        return DropReason.NONE
    outside = peer.identity in _WORLD or is_local(peer.identity) or peer.identity == Reserved.UNMANAGED
    if not network.host and peer.identity == Reserved.HOST:
        return DropReason.HOST_FORBIDDEN
    if (network.internal or not network.world) and outside:
        return DropReason.WORLD_FORBIDDEN
    if not network.inter_container and peer.network and peer.network.number == network.number:
        return DropReason.CONTAINERS_FORBIDDEN
    return DropReason.NONE
