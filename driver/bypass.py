"""What is not as a user may believe: traffic that passes ciliate by or that somebody else judges, networks whose
addresses somebody else gives, ports that nobody serves. Shown by `status`. Finding it is pure; Bypasses asks who
knows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from driver import resolvers
from driver.accept import FirewallFacts
from driver.containers import Containers
from driver.realm import Realm
from driver.reconcile import is_ours
from model.endpoint import Endpoint
from model.errors import Unavailable
from model.network import Network

KIND = "BYPASS"
FRESH_SECONDS = 10.0

SHOWN_NAMES = 5


@dataclass(frozen=True, slots=True)
class Bypass:
    text: str
    hint: str
    kind: str = KIND


def bypasses(
    containers: Sequence[Mapping[str, Any]],
    networks: Mapping[str, Mapping[str, Any]],
    ours: Collection[str],
    local_resolvers: Collection[str],
    with_own_resolvers: Collection[str],
    firewall: FirewallFacts,
) -> tuple[Bypass, ...]:
    """`containers`: the engine's list of running ones; `networks`: its networks by id; `ours`: ids of ciliate's;
    `local_resolvers`: those of the host that the engine asks from the host's network, except for containers whose ids
    are in `with_own_resolvers`. PURE."""
    found = [bypass for container in containers for bypass in _of_container(container, networks, ours)]
    asking = [
        _name(container)
        for container in containers
        if container.get("Id") not in with_own_resolvers and _is_on(container, ours)
    ]
    if local_resolvers and asking:
        more = f" and {len(asking) - SHOWN_NAMES} more" if len(asking) > SHOWN_NAMES else ""
        found.append(
            Bypass(
                f"Docker's DNS asks the host's own resolver ({', '.join(local_resolvers)}) in the place of "
                f"{', '.join(asking[:SHOWN_NAMES])}{more}, so that no egress policy sees their questions",
                'give the engine other servers ("dns" in /etc/docker/daemon.json, then restart it and the containers), '
                "or the container: `docker run --dns`",
            )
        )
    return (*found, *_of_firewall(firewall), *_of_networks(networks, ours))


def unserved_ports(endpoints: Iterable[Endpoint], networks: Mapping[str, Network]) -> Iterator[Bypass]:
    """Docker never asks for the ports of a container whose networks are all internal: those of its own bridge ignore
    them, too. `networks` by Docker's id. PURE."""
    wanting: dict[str, Endpoint] = {}
    served = set()
    for endpoint in endpoints:
        network = networks.get(endpoint.network_id)
        if network is None or not endpoint.ifindex:
            continue
        container = endpoint.container_id or endpoint.docker_id
        if not network.internal:
            served.add(container)
        elif endpoint.wants_ports:
            wanting[container] = endpoint
    for container, endpoint in wanting.items():
        if container not in served:
            name = endpoint.container_name or container[:12]
            yield Bypass(
                f"ports of container {name} are not published: its networks are internal",
                "connect it to a network that is not, or run it without -p",
                kind="PORTS",
            )


def _of_container(
    container: Mapping[str, Any], networks: Mapping[str, Mapping[str, Any]], ours: Collection[str]
) -> Iterator[Bypass]:
    name = _name(container)
    if (container.get("HostConfig") or {}).get("NetworkMode") == "host":
        yield Bypass(
            f"container {name} uses the host's network: it has the identity host, and no policy of its own",
            "run it on a ciliate network",
        )
        return
    if not _is_on(container, ours):
        return
    for network_name, member in _attached(container).items():
        network_id = member.get("NetworkID")
        driver = networks.get(network_id, {}).get("Driver", "unknown")
        if network_id not in ours and driver != "null":
            yield Bypass(
                f"container {name} is also on {network_name} (driver {driver}); traffic there is not judged",
                f"docker network disconnect {network_name} {name}",
            )


def _of_networks(networks: Mapping[str, Mapping[str, Any]], ours: Collection[str]) -> Iterator[Bypass]:
    known = {number: networks[number] for number in ours if number in networks}
    names = {str(network.get("Driver")) for network in known.values()}
    for number, network in known.items():
        if not is_ours(network, names):
            driver = (network.get("IPAM") or {}).get("Driver")
            yield Bypass(
                f"network {network.get('Name') or number[:12]} has its addresses from the IPAM driver {driver}: "
                "it stays on this host",
                "make it anew with `--ipam-driver ciliate`",
                kind="IPAM",
            )


def _name(container: Mapping[str, Any]) -> str:
    return str(next(iter(container.get("Names") or ["?"]))).removeprefix("/")


def _attached(container: Mapping[str, Any]) -> Mapping[str, Any]:
    """By the network's name."""
    return (container.get("NetworkSettings") or {}).get("Networks") or {}


def _is_on(container: Mapping[str, Any], networks: Collection[str]) -> bool:
    return any(member.get("NetworkID") in networks for member in _attached(container).values())


def _of_firewall(firewall: FirewallFacts) -> Iterator[Bypass]:
    if firewall.docker_user:
        yield Bypass(
            f"DOCKER-USER has {len(firewall.docker_user)} rules of its own: they drop traffic between containers "
            "and other machines without ciliate's knowledge, and do not see traffic between containers",
            "write them as ciliate policies; `iptables -S DOCKER-USER` shows them",
        )
    if firewall.ufw:
        yield Bypass(
            "ufw is active: its rules for the host do not see published ports, and what it drops ciliate cannot show",
            "write rules for containers as ciliate policies",
        )
    if firewall.firewalld:
        yield Bypass(
            "firewalld is active: it may drop what containers send through the host, which ciliate cannot show",
            "firewall-cmd --permanent --zone=trusted --add-source=POOL for each pool of `ciliate status`",
        )


def _is_loopback(text: str) -> bool:
    try:
        return ip_address(text.partition("%")[0]).is_loopback
    except ValueError:
        return False


class Bypasses:
    """The warnings of now; what the engine knows at most FRESH_SECONDS old, and the last known while it does not
    answer."""

    def __init__(self, realm: Realm, containers: Containers, firewall: Callable[[], FirewallFacts]) -> None:
        self._realm = realm
        self._containers = containers
        self._firewall = firewall
        self._lock = threading.Lock()
        self._last: tuple[Bypass, ...] = ()
        self._until = 0.0

    def current(self) -> tuple[Bypass, ...]:
        unserved = unserved_ports(self._realm.endpoints().values(), self._realm.networks())
        return (*self._of_engine(), *unserved)

    def _of_engine(self) -> tuple[Bypass, ...]:
        with self._lock:
            if time.monotonic() >= self._until and self._containers.state.up:
                try:
                    running, networks = self._containers.running(), self._containers.networks()
                except Unavailable:
                    return self._last
                ours = self._realm.networks().keys()
                local, own = self._resolvers(running)
                self._last = bypasses(running, networks, ours, local, own, self._firewall())
                self._until = time.monotonic() + FRESH_SECONDS
            return self._last

    def _resolvers(self, running: Sequence[Mapping[str, Any]]) -> tuple[list[str], set[str]]:
        """The host's loopback ones, if the engine asks any, and ids of the containers for which it does not."""
        local = [] if resolvers.of_engine(_read) else list(filter(_is_loopback, resolvers.of_host(_read)))
        root = self._containers.root
        if not local or root is None:
            return local, set()
        identifiers = [str(container.get("Id")) for container in running]
        return local, {each for each in identifiers if resolvers.of_container(_read, root, each)}


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
