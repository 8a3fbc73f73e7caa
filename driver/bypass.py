"""What is not as a user may believe: traffic that passes ciliate by or that somebody else judges, networks whose
addresses somebody else gives, ports that nobody serves. Shown by `status`. Finding it is pure; Bypasses asks who
knows."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from driver.accept import FirewallFacts
from driver.containers import Containers
from driver.realm import Realm
from driver.reconcile import is_ours
from model.endpoint import Endpoint
from model.errors import Unavailable
from model.network import Network

KIND = "BYPASS"
FRESH_SECONDS = 10.0

_RESOLV_CONF = Path("/etc/resolv.conf")
_RESOLVED_CONF = Path("/run/systemd/resolve/resolv.conf")
_NAMESERVER = re.compile(r"^\s*nameserver\s+(\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Bypass:
    text: str
    hint: str
    kind: str = KIND


def bypasses(
    containers: Sequence[Mapping[str, Any]],
    networks: Mapping[str, Mapping[str, Any]],
    ours: Collection[str],
    resolvers: Collection[str],
    firewall: FirewallFacts,
) -> tuple[Bypass, ...]:
    """`containers`: the engine's list of running ones; `networks`: its networks by id; `ours`: ids of ciliate's;
    `resolvers`: the host's, as the engine uses them. PURE."""
    found = [bypass for container in containers for bypass in _of_container(container, networks, ours)]
    local = [text for text in resolvers if _is_loopback(text)]
    if local and ours:
        found.append(
            Bypass(
                f"Docker's DNS asks the host's own resolver ({', '.join(local)}) in the containers' place, so that no "
                "egress policy sees their questions",
                'give the engine other servers: "dns" in /etc/docker/daemon.json, or `docker run --dns`',
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


def resolvers(read: Callable[[Path], str]) -> tuple[str, ...]:
    """The host's name servers as Docker takes them: where systemd-resolved listens on 127.0.0.53 it reads the
    servers behind it. PURE but for `read`, which answers "" for a file that is not there."""
    servers = _NAMESERVER.findall(read(_RESOLV_CONF))
    if servers == ["127.0.0.53"]:
        servers = _NAMESERVER.findall(read(_RESOLVED_CONF)) or servers
    return tuple(servers)


def _of_container(
    container: Mapping[str, Any], networks: Mapping[str, Mapping[str, Any]], ours: Collection[str]
) -> Iterator[Bypass]:
    name = next(iter(container.get("Names") or ["?"])).removeprefix("/")
    if (container.get("HostConfig") or {}).get("NetworkMode") == "host":
        yield Bypass(
            f"container {name} uses the host's network: it has the identity host, and no policy of its own",
            "run it on a ciliate network",
        )
        return
    attached = ((container.get("NetworkSettings") or {}).get("Networks") or {}).items()
    if not any(member.get("NetworkID") in ours for _, member in attached):
        return
    for network_name, member in attached:
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
                self._last = bypasses(running, networks, ours, resolvers(_read), self._firewall())
                self._until = time.monotonic() + FRESH_SECONDS
            return self._last


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
