"""The table `inet ciliate`: masquerade for what leaves the cluster, translation for published ports, and who may send
to the tunnel's port.

The text is made by pure functions; Nft runs `nft`, which applies a whole text or nothing of it. eBPF judges every
packet of a container before and after: what is written here never decides whether it may pass."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

from datapath.abi import PacketMark
from driver.plan import DEVICE_GROUP
from model.errors import Unavailable
from model.network import IPAddress, IPNetwork, Subnet

TABLE = "inet ciliate"

ANSWER_SECONDS = 4.0

_LOOPBACK = {4: "127.0.0.0/8", 6: "::1"}


@dataclass(frozen=True, slots=True)
class Forward:
    """What arrives for `host_ip` (unspecified: any address of the host) and `host_port` goes to `target` and
    `port`. `protocol` is tcp, udp or sctp."""

    protocol: str
    host_ip: IPAddress
    host_port: int
    target: IPAddress
    port: int


@dataclass(frozen=True, slots=True)
class Cluster:
    """Other nodes: prefixes of their containers, their own addresses, and the UDP port of the tunnel between the
    nodes (0: there is none)."""

    slices: frozenset[IPNetwork] = frozenset()
    nodes: frozenset[IPAddress] = frozenset()
    port: int = 0


_ALONE = Cluster()

Element = tuple[str, str]
"""The name of a set or map, and what stands in it."""


def ruleset(
    subnets: Iterable[Subnet],
    forwards: Iterable[Forward],
    *,
    masquerade: bool,
    cluster: Cluster = _ALONE,
) -> str:
    """The whole table, replacing whatever is there. PURE."""
    return "\n".join([f"add table {TABLE}", f"delete table {TABLE}", f"table {TABLE} {{",
                      *_declarations(list(subnets), list(forwards), cluster), *_chains(masquerade),
                      *_chains_of_cluster(cluster), "}", ""])  # fmt: skip


class Needed:
    """Elements of the table by how many owners need each, so that what one owner changes costs what it has, however
    many there are. PURE."""

    def __init__(self) -> None:
        self._owners: dict[Element, int] = {}

    def change(self, before: Iterable[Forward], after: Iterable[Forward]) -> str:
        """One owner's forwards, replaced; what to tell nft. What others still need stays."""
        old, new = _elements_of(before), _elements_of(after)
        for element in new:
            self._owners[element] = self._owners.get(element, 0) + 1
        gone = []
        for element in old:
            self._owners[element] -= 1
            if not self._owners[element]:
                del self._owners[element]
                gone.append(element)
        return _told("delete", gone) + _told("add", [element for element in new if element not in old])


def _told(verb: str, elements: Iterable[Element]) -> str:
    return "".join(f"{verb} element {TABLE} {name} {{ {element} }}\n" for name, element in elements)


def _elements_of(forwards: Iterable[Forward]) -> dict[Element, None]:
    return dict.fromkeys(element for forward in forwards for element in _elements(forward))


def _elements(forward: Forward) -> Iterator[Element]:
    version = forward.target.version
    key, target = f"{forward.protocol} . {forward.host_port}", f"{forward.target} . {forward.port}"
    if forward.host_ip.is_unspecified:
        yield f"published{version}", f"{key} : {target}"
    else:
        yield f"published{version}_at", f"{forward.host_ip} . {key} : {target}"
    yield f"self{version}", f"{forward.target} . {forward.target}"


def _declarations(subnets: Sequence[Subnet], forwards: Sequence[Forward], cluster: Cluster) -> Iterator[str]:
    elements: dict[str, list[str]] = {}
    for version, networks in _elsewhere(cluster).items():
        elements[f"elsewhere{version}"] = [str(network) for network in networks]
    for node in cluster.nodes:
        elements.setdefault(f"nodes{node.version}", []).append(str(node))
    for subnet in subnets:
        elements.setdefault(f"pools{subnet.pool.version}", []).append(str(subnet.pool))
        if subnet.gateway is not None:
            name = f"gateways{subnet.pool.version}"
            elements.setdefault(name, []).append(f"{subnet.pool} : {subnet.gateway}")
    for forward in forwards:
        for name, element in _elements(forward):
            elements.setdefault(name, []).append(element)
    for version in (4, 6):
        address = f"ipv{version}_addr"
        for kind, name, type_ in (
            ("set", "pools", f"{address}; flags interval"),
            ("set", "elsewhere", f"{address}; flags interval"),
            ("set", "nodes", address),
            ("map", "gateways", f"{address} : {address}; flags interval"),
            ("map", "published", f"inet_proto . inet_service : {address} . inet_service"),
            ("map", "published_at", f"{address} . inet_proto . inet_service : {address} . inet_service"),
            ("set", "self", f"{address} . {address}"),
        ):
            full = f"published{version}_at" if name == "published_at" else f"{name}{version}"
            found = sorted(set(elements.get(full, ())))
            content = f" elements = {{ {', '.join(found)} }};" if found else ""
            yield f"  {kind} {full} {{ type {type_};{content} }}"


def _chains(masquerade: bool) -> Iterator[str]:
    yield "  chain published {"
    for version, ip in ((4, "ip"), (6, "ip6")):
        yield f"    dnat {ip} to {ip} daddr . meta l4proto . th dport map @published{version}_at"
        yield f"    dnat {ip} to meta l4proto . th dport map @published{version}"
    yield "  }"
    for hook, priority in (("prerouting", "dstnat"), ("output", "-100")):
        yield f"  chain {hook} {{"
        yield f"    type nat hook {hook} priority {priority}; policy accept;"
        yield "    fib daddr type local jump published"
        yield "  }"
    yield "  chain postrouting {"
    yield "    type nat hook postrouting priority srcnat; policy accept;"
    for version, ip in ((4, "ip"), (6, "ip6")):
        inwards = f"oifgroup {DEVICE_GROUP}"
        # A container cannot answer the host's loopback address, nor take a packet that seems its own.
        yield f"    {inwards} {ip} saddr {_LOOPBACK[version]} snat {ip} to {ip} daddr map @gateways{version}"
        yield f"    {inwards} {ip} saddr . {ip} daddr @self{version} snat {ip} to {ip} daddr map @gateways{version}"
        if masquerade:
            pools = f"{ip} saddr @pools{version} {ip} daddr != @pools{version}"
            yield f"    oifgroup != {DEVICE_GROUP} {pools} {ip} daddr != @elsewhere{version} masquerade"
    yield "  }"


def _chains_of_cluster(cluster: Cluster) -> Iterator[str]:
    if cluster.port:
        yield from _guard_of_tunnel(cluster.port)
    elif cluster != _ALONE:
        yield from _marks_of_routed()


def _elsewhere(cluster: Cluster) -> dict[int, list[IPNetwork]]:
    """What other nodes and their containers have, none of it twice, by IP version."""
    prefixes = [*cluster.slices, *(ip_network(address) for address in cluster.nodes)]
    return {
        4: list(collapse_addresses(prefix for prefix in prefixes if isinstance(prefix, IPv4Network))),
        6: list(collapse_addresses(prefix for prefix in prefixes if isinstance(prefix, IPv6Network))),
    }


def _guard_of_tunnel(port: int) -> Iterator[str]:
    """What comes to the tunnel's port is believed if another node sent it. So nothing leaves to there but what the
    programs have marked, be it over loopback; nothing is forwarded to another node's, where masquerade would let it
    seem ours; and nothing is taken that comes in where no other node can be. Nor does anything that the programs leave
    to the host's routes go another way than into the tunnel."""
    yield "  chain tunnel_output {"
    yield "    type filter hook output priority filter; policy accept;"
    yield f"    udp dport {port} meta mark != {PacketMark.OVERLAY:#x} drop"
    yield "  }"
    yield "  chain tunnel_forward {"
    yield "    type filter hook forward priority filter; policy accept;"
    for version, ip in ((4, "ip"), (6, "ip6")):
        yield f"    {ip} daddr @nodes{version} udp dport {port} drop"
        leak = f"iifgroup {DEVICE_GROUP} oifgroup != {DEVICE_GROUP} {ip} daddr @elsewhere{version}"
        yield f"    {leak} {ip} daddr != @nodes{version} drop"
    yield "  }"
    yield "  chain tunnel_input {"
    yield "    type filter hook input priority filter; policy accept;"
    yield f"    udp dport {port} fib saddr . iif oif missing drop"
    yield "  }"


def _marks_of_routed() -> Iterator[str]:
    """Whether a container of another node called this one itself or a port that is published, the programs cannot see;
    and the host's firewall must let the former through, too (see accept.py)."""
    yield "  chain routed {"
    yield "    type filter hook forward priority filter - 10; policy accept;"
    yield f"    oifgroup {DEVICE_GROUP} ct status dnat meta mark set {PacketMark.PUBLISHED:#x} accept"
    for version, ip in ((4, "ip"), (6, "ip6")):
        yield f"    oifgroup {DEVICE_GROUP} {ip} saddr @elsewhere{version} meta mark set {PacketMark.ROUTED:#x}"
    yield "  }"


class Nft:
    """Keeps the table as it should be. `cluster`: until more is known of it, so that the tunnel's port is never without
    its guard. `forwards` are held by owner, so that one endpoint's go together. Raises
    Unavailable where `nft` does not do as told; the table is then as it was."""

    def __init__(self, *, masquerade: bool, cluster: Cluster = _ALONE) -> None:
        self._masquerade = masquerade
        self._lock = threading.Lock()
        self._subnets: tuple[Subnet, ...] = ()
        self._forwards: dict[str, tuple[Forward, ...]] = {}
        self._needed = Needed()
        self._cluster = cluster
        self._made = False

    def start(self, subnets: Iterable[Subnet], forwards: Mapping[str, Sequence[Forward]]) -> None:
        """Replace the table by exactly this. Without any network there is no table."""
        with self._lock:
            self._subnets = tuple(subnets)
            self._forwards, self._needed = {}, Needed()
            for owner, of_owner in forwards.items():
                self._hold(owner, of_owner)
            self._rebuild()

    def set_subnets(self, subnets: Iterable[Subnet]) -> None:
        with self._lock:
            before, self._subnets = self._subnets, tuple(subnets)
            if before == self._subnets and self._made:
                return
            try:
                self._rebuild()
            except Unavailable:
                self._subnets = before
                raise

    def set_cluster(self, cluster: Cluster) -> None:
        with self._lock:
            before, self._cluster = self._cluster, cluster
            if before == cluster and (self._made or cluster == _ALONE):
                return
            try:
                self._rebuild()
            except Unavailable:
                self._cluster = before
                raise

    def publish(self, owner: str, forwards: Sequence[Forward]) -> None:
        """All forwards of an owner, in place of those it had."""
        with self._lock:
            before = self._forwards.get(owner, ())
            text = self._hold(owner, forwards)
            if not text:
                return
            try:
                self._run(text)
            except Unavailable:
                # The table may have been flushed by somebody else's `nft flush ruleset`.
                try:
                    self._rebuild()
                except Unavailable:
                    self._hold(owner, before)
                    raise

    def revoke(self, owner: str) -> None:
        """No error if it published nothing."""
        self.publish(owner, ())

    def check(self) -> bool:
        """Make the table again if somebody removed it. True if so."""
        with self._lock:
            if not self._made or _nft(["-t", "list", "table", *TABLE.split()]).returncode == 0:
                return False
            self._rebuild()
            return True

    def _hold(self, owner: str, forwards: Sequence[Forward]) -> str:
        text = self._needed.change(self._forwards.pop(owner, ()), forwards)
        if forwards:
            self._forwards[owner] = tuple(forwards)
        return text

    def _rebuild(self) -> None:
        if self._subnets or self._cluster != _ALONE:
            forwards = [forward for of_owner in self._forwards.values() for forward in of_owner]
            self._run(ruleset(self._subnets, forwards, masquerade=self._masquerade, cluster=self._cluster))
            self._made = True
        else:
            remove_table()
            self._made = False

    @staticmethod
    def _run(text: str) -> None:
        done = _nft(["-f", "-"], text)
        if done.returncode != 0:
            reason = next(iter(done.stderr.strip().splitlines()), "no reason given")
            raise Unavailable(f"nft refused a change of table {TABLE}: {reason}")


def remove_table() -> None:
    """No error if it is not there."""
    if _nft(["-t", "list", "table", *TABLE.split()]).returncode == 0:
        _nft(["delete", "table", *TABLE.split()])


def _nft(arguments: Sequence[str], text: str = "") -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["nft", *arguments],
            input=text,
            capture_output=True,
            text=True,
            timeout=ANSWER_SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        raise Unavailable("the program nft is missing", hint="install the package nftables") from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"nft did not end within {ANSWER_SECONDS:g} s") from error
