"""This node among those that share its store: it tells them of itself, hears of them, and has ways to them. A node
alone has none of this."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from agent.events import Event
from agent.loop import Loop
from agent.namer import Namer
from agent.peers import Peers
from agent.publisher import Publisher
from agent.settings import Settings
from agent.state import State
from agent.ways import Ways
from datapath.attach import OVERLAY, Programs
from datapath.kernel import KernelDatapath
from driver.accept import Acceptance
from driver.links import Links
from driver.nft import Nft
from driver.overlay import Overlay
from driver.tunnels import Tunnels
from model.network import IPNetwork, by_address
from store.keys import Keys
from store.kv import KeyValueStore
from store.peers import PeerStore


class Cluster:
    def __init__(self, publisher: Publisher, namer: Namer, peers: Peers, ways: Ways, node: str) -> None:
        self.publisher = publisher
        self.namer = namer
        self.peers = peers
        self.ways = ways
        self._node = node

    def start(self) -> None:
        self.ways.start()
        self.publisher.start()
        self.namer.start(self.publisher.wake)
        self.peers.start()

    def stop(self) -> None:
        self.peers.stop()
        self.namer.stop()
        self.publisher.stop()
        self.ways.stop()

    def problems(self) -> list[str]:
        return [part.problem for part in (self.ways, self.peers, self.publisher) if part.problem]

    def nodes(self, state: State) -> list[dict[str, Any]]:
        """All that are known, this one first. Shapes are those of agent/schema.py."""
        left = self.peers.left()
        own = self.publisher.record
        shown = [
            {
                "name": self._node,
                "local": True,
                "state": "here",
                "left_seconds": 0.0,
                "addresses": [] if own is None else [str(address) for address in own.addresses],
                "tunnel": "" if own is None else str(own.tunnel),
                "slices": [] if own is None else [str(slice) for slice in own.slices],
                "containers": len(self.publisher.told),
            }
        ]
        for name, node in sorted(state.nodes.items()):
            shown.append(
                {
                    "name": name,
                    "local": False,
                    "state": "gone" if node.tunnel is None else "left" if name in left else "here",
                    "left_seconds": round(left.get(name, 0.0), 1),
                    "addresses": [str(address) for address in node.addresses],
                    "tunnel": str(node.tunnel or ""),
                    "slices": [str(slice) for slice in sorted(node.slices, key=by_address)],
                    "containers": len(node.ips),
                }
            )
        return shown


def join_cluster(
    settings: Settings,
    loop: Loop[State, Event],
    store: KeyValueStore,
    keys: Keys,
    local: KeyValueStore,
    datapath: KernelDatapath,
    links: Links,
    nft: Nft,
    acceptance: Acceptance,
    slices: Callable[[], Collection[IPNetwork]],
    aliases: Callable[[str, str], Collection[str]],
) -> Cluster:
    """Not started yet. `local`: the store of this node's own; `aliases`: those of a container in a network."""
    overlay, close = make_overlay(settings.bpf_root, datapath, links, nft, acceptance)
    ways = Ways(
        loop,
        overlay,
        settings.routing,
        settings.tunnel_port or settings.routing.port,
        settings.node_ip,
        slices,
        close,
    )
    namer = Namer(loop, aliases)
    publisher = Publisher(loop, store, keys, settings.node, slices, namer.names, settings.node_ip)
    peers = Peers(loop, store, keys, settings.node, PeerStore(local))
    return Cluster(publisher, namer, peers, ways, settings.node)


def make_overlay(
    root: Path, datapath: KernelDatapath, links: Links, nft: Nft, acceptance: Acceptance
) -> tuple[Overlay, Callable[[], None]]:
    """Also what closes it."""
    programs, tunnels = Programs.open(root, OVERLAY), Tunnels(links)

    def close() -> None:
        programs.close()
        tunnels.close()

    return Overlay(tunnels, nft, acceptance, programs.attach, programs.attached, datapath.set_node), close
