"""This node among others: the tunnel's device or the routes to them, and what netfilter and the programs must know."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from datapath.tables import NodeEntry, Routing
from driver.accept import Acceptance
from driver.nft import Cluster, Nft
from driver.plan import RoutingMode
from driver.tunnels import Tunnels, Way
from model.errors import Unavailable
from model.network import IPAddress, IPNetwork


@dataclass(frozen=True, slots=True)
class TunnelFacts:
    """This node. `address`: what others' tunnels send to; `port`: of all nodes; `mtu`: of the network between them;
    `sources`: what the host calls itself towards others' containers, by IP version; `slices`: the prefixes that it has
    for containers."""

    mode: RoutingMode
    address: IPv4Address
    port: int
    mtu: int
    sources: Mapping[int, IPAddress] = field(default_factory=dict)
    slices: frozenset[IPNetwork] = frozenset()


@dataclass(frozen=True, slots=True)
class PeerFacts:
    """Another node. `addresses`: all that others may see as this node, `tunnel` among them; `slices`: the prefixes that
    it has for containers."""

    tunnel: IPv4Address
    addresses: frozenset[IPAddress] = frozenset()
    slices: frozenset[IPNetwork] = frozenset()


def cluster_of(port: int, peers: Collection[PeerFacts]) -> Cluster:
    """What netfilter must know. `port`: of the tunnel, 0 where routing is native."""
    return Cluster(
        slices=frozenset(prefix for peer in peers for prefix in peer.slices),
        nodes=frozenset(address for peer in peers for address in (*peer.addresses, peer.tunnel)),
        port=port,
    )


class Overlay:
    """Safe for many threads. `attach` puts from_overlay and to_overlay on a device, `attached` says whether both are
    there, each given its ifindex; `publish` tells the programs of this node (`Datapath.set_node`)."""

    def __init__(
        self,
        tunnels: Tunnels,
        nft: Nft,
        acceptance: Acceptance,
        attach: Callable[[int], None],
        attached: Callable[[int], bool],
        publish: Callable[[NodeEntry], None],
    ) -> None:
        self._tunnels = tunnels
        self._nft = nft
        self._acceptance = acceptance
        self._attach = attach
        self._attached = attached
        self._publish = publish
        self._lock = threading.Lock()
        self._served: tuple[TunnelFacts, tuple[PeerFacts, ...]] | None = None
        self._open = 0
        """The device that traffic passes."""

    def serve(self, local: TunnelFacts, peers: Iterable[PeerFacts]) -> None:
        """Fit the host to exactly these nodes. Repeatable; cheap where nothing has changed. Raises Unavailable,
        Conflict, or Unsupported."""
        with self._lock:
            self._served = local, tuple(peers)
            self._serve(*self._served)

    def keep(self) -> None:
        """The tunnel's device carries nothing that its programs do not judge: whatever has taken them off, or the
        device away, they are put back, or the device goes. Cheap. Raises Unavailable or Conflict."""
        with self._lock:
            if self._served is None or self._served[0].mode is RoutingMode.NATIVE:
                return
            if not (self._open and self._attached(self._open)):
                self._serve(*self._served)

    def stop(self) -> None:
        """Be a node alone. Raises Unavailable."""
        with self._lock:
            self._served = None
            self._open = 0
            self._publish(NodeEntry())
            self._tunnels.set_routes({})
            self._tunnels.keep_only("")
            self._nft.set_cluster(Cluster())
            self._acceptance.set_routed(False)

    def _serve(self, local: TunnelFacts, peers: Sequence[PeerFacts]) -> None:
        tunnelled = local.mode is not RoutingMode.NATIVE
        self._nft.set_cluster(cluster_of(local.port if tunnelled else 0, peers))
        self._acceptance.set_routed(not tunnelled)
        if tunnelled:
            ifindex = self._open_tunnel(local)
            ways = {
                prefix: Way(ifindex, source=local.sources.get(prefix.version))
                for peer in peers
                for prefix in peer.slices
            }
        else:
            self._open = 0
            self._publish(NodeEntry(Routing.NATIVE, address=local.address))
            ways = self._native_ways(local, peers)
        self._tunnels.keep_only(local.mode if tunnelled else "")
        self._tunnels.set_routes(ways)

    def _open_tunnel(self, local: TunnelFacts) -> int:
        """Nothing passes before the programs are there, and they know of the device."""
        mtu = local.mtu - local.mode.overhead
        ifindex = self._tunnels.make(local.mode, local.port)
        self._fit(ifindex)
        self._publish(NodeEntry(Routing.TUNNEL, ifindex, mtu, local.address, local.port))
        self._tunnels.open(local.mode, ifindex, mtu)
        self._open = ifindex
        return ifindex

    def _fit(self, ifindex: int) -> None:
        try:
            self._attach(ifindex)
        except OSError as error:
            self._open = 0
            self._tunnels.keep_only("")
            raise Unavailable(f"the programs could not be put on the tunnel's device: {error}") from error

    def _native_ways(self, local: TunnelFacts, peers: Sequence[PeerFacts]) -> dict[IPNetwork, Way]:
        """Through the nodes that are neighbours. Others are left to the routes that the host has by itself. Its own
        slices are routes, too, which lead nowhere: what a routing daemon may tell others, and no way out for an address
        that no container has."""
        near = self._tunnels.neighbours(
            {address for peer in peers for address in (*peer.addresses, peer.tunnel)}
        )
        ways = dict.fromkeys(local.slices, Way())
        for peer in peers:
            for version in (4, 6):
                own = {address for address in (peer.tunnel, *peer.addresses) if address.version == version}
                via = (
                    peer.tunnel if peer.tunnel in own & near.keys() else min(own & near.keys(), default=None)
                )
                if via is not None:
                    way = Way(near[via], via, local.sources.get(version))
                    ways.update({prefix: way for prefix in peer.slices if prefix.version == version})
        return ways
