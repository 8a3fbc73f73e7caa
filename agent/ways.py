"""The host's own ways to other nodes, kept as the state says: the tunnel's device, routes, and what netfilter knows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from ipaddress import IPv4Address

import structlog

from agent.events import Event
from agent.loop import Loop
from agent.publisher import outer_addresses
from agent.settings import Settings
from agent.state import State
from driver.nft import Cluster
from driver.overlay import Overlay, PeerFacts, TunnelFacts, cluster_of
from driver.plan import RoutingMode
from model.errors import CiliateError
from model.network import IPNetwork

log = structlog.get_logger("cluster")

_TICK_SECONDS = 1.0


class Ways:
    """`address`: of this node for others, if the user has said it; `port`: of the tunnel; `slices`: those that this
    node has."""

    def __init__(
        self,
        loop: Loop[State, Event],
        overlay: Overlay,
        mode: RoutingMode,
        port: int,
        address: IPv4Address | None,
        slices: Callable[[], Collection[IPNetwork]],
        close: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._overlay = overlay
        self._mode = mode
        self._port = port
        self._address = address
        self._slices = slices
        self._close = close
        self._served: tuple[TunnelFacts, frozenset[PeerFacts], object] | None = None
        self._problem = ""
        self._due = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="ways", daemon=True)

    @property
    def problem(self) -> str:
        """Why other nodes may not be reached; empty while they may."""
        return self._problem

    def start(self) -> None:
        """What is known is served when it returns, if it can be."""
        self._attempt()
        self._loop.listen(self._due.set)
        self._thread.start()

    def stop(self) -> None:
        """All stays as it is."""
        self._stopping = True
        self._due.set()
        self._thread.join()
        self._close()

    def _run(self) -> None:
        while not self._stopping:
            self._due.wait(_TICK_SECONDS)
            self._due.clear()
            self._attempt()

    def _attempt(self) -> None:
        try:
            self._serve()
            self._problem = ""
        except Exception as error:
            self._served = None
            text = f"there is no way to other nodes: {error}"
            if text != self._problem:
                self._problem = text
                if isinstance(error, CiliateError):
                    log.error("no way to other nodes", error=str(error))
                else:
                    log.exception("no way to other nodes")

    def _serve(self) -> None:
        state = self._loop.state
        outer = outer_addresses(state.host, self._address)
        if outer is None:
            return  # which the publisher tells
        tunnel, addresses = outer
        sources = {4: tunnel} | {found.version: found for found in reversed(addresses) if found.version == 6}
        local = TunnelFacts(
            self._mode, tunnel, self._port, state.host.mtu, sources, frozenset(self._slices())
        )
        peers = peers_of(state)
        # Which nodes are neighbours depends on the host's routes.
        routed = state.host.routed if self._mode is RoutingMode.NATIVE else None
        # TunnelFacts hold a mapping: they are compared, never hashed.
        if self._served != (local, peers, routed):
            self._overlay.serve(local, peers)
            self._served = local, peers, routed
        self._overlay.keep()


def peers_of(state: State) -> frozenset[PeerFacts]:
    """PURE."""
    return frozenset(
        PeerFacts(node.tunnel, frozenset(node.addresses), node.slices)
        for node in state.nodes.values()
        if node.tunnel is not None
    )


def known_cluster(settings: Settings, state: State) -> Cluster:
    """What netfilter is told before there are ways to other nodes: the tunnel's device may be open already. PURE."""
    tunnelled = settings.routing is not RoutingMode.NATIVE
    return cluster_of(settings.tunnel_port or settings.routing.port if tunnelled else 0, peers_of(state))
