"""Published ports: which the host gives away, and sockets that keep them.

Each published port is held by a real socket of the agent, so that nobody else on the host can take it unnoticed,
and so that a port that is taken fails the container's start with a sentence about it. The sockets receive
nothing: netfilter translates packets before they get so far, and what comes through is discarded."""

from __future__ import annotations

import ctypes
import errno
import itertools
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import structlog

from driver.conntrack import forget_answers_of, forget_calls_to
from driver.nft import Forward, Nft
from driver.options import PortBinding
from model.endpoint import Endpoint, PublishedPort
from model.errors import CiliateError, Conflict, Exhausted, InvalidInput, Unsupported
from model.network import IPAddress, Subnet

log = structlog.get_logger("driver")

ANY4, ANY6 = IPv4Address("0.0.0.0"), IPv6Address("::")

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_KINDS = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}
_ATTACH_FILTER = 26
_DROP_ALL = struct.pack("=HBBI", 0x06, 0, 0, 0)  # classic BPF: return 0 bytes of every packet

Slot = tuple[str, IPAddress, int]
"""Protocol, host address, host port."""


@dataclass(slots=True)
class _Held:
    """What one endpoint has. `sandbox`: Docker's name for the container's network namespace."""

    owner: str
    sandbox: str
    sockets: dict[Slot, socket.socket] = field(default_factory=dict)


class Ports:
    """Safe for many threads. `default_ip`: what `-p` binds where neither it nor the network names an address."""

    def __init__(self, nft: Nft, default_ip: IPv4Address | None = None) -> None:
        self._nft = nft
        self._default_ip = default_ip
        self._lock = threading.Lock()
        self._held: dict[str, _Held] = {}

    def start(self, subnets: Iterable[Subnet], endpoints: Iterable[Endpoint]) -> list[str]:
        """Take up again what was published before; answers a sentence for each port that somebody else has taken
        meanwhile. It is still translated, so that containers keep what they had."""
        lost = []
        forwards: dict[str, list[Forward]] = {}
        with self._lock:
            for endpoint in endpoints:
                if not endpoint.ports:
                    continue
                forwards[endpoint.docker_id] = _forwards(endpoint, endpoint.ports)
                held = self._held[endpoint.docker_id] = _Held(endpoint.container_name, "")
                for port in endpoint.ports:
                    slot = (port.protocol, port.host_ip, port.host_port)
                    try:
                        held.sockets[slot] = _reserve(*slot)
                    except OSError as error:
                        lost.append(f"{_text(slot)}: {error.strerror}")
        self._nft.start(subnets, forwards)
        return lost

    def publish(
        self,
        endpoint: Endpoint,
        bindings: Sequence[PortBinding],
        *,
        publish_ip: IPv4Address | None = None,
        sandbox: str = "",
        ipv6: bool = True,
    ) -> tuple[PublishedPort, ...]:
        """All of `bindings`, in place of what the endpoint published before; or none, with the reason. A port
        that another endpoint of the same container already serves is left to it. `ipv6`: False where another
        endpoint of the container answers for IPv6."""
        default = publish_ip or self._default_ip or ANY4
        with self._lock:
            before = self._held.pop(endpoint.docker_id, None)
            held = _Held(endpoint.container_name, sandbox)
            try:
                published = tuple(
                    port
                    for binding in bindings
                    for port in self._take(
                        endpoint, binding, _addresses(endpoint, binding, default, ipv6), held, before
                    )
                )
                self._nft.publish(endpoint.docker_id, _forwards(endpoint, published))
            except BaseException:
                kept = before.sockets if before is not None else {}
                _close(held.sockets[slot] for slot in held.sockets.keys() - kept.keys())
                if before is not None:
                    self._held[endpoint.docker_id] = before
                raise
            if before is not None:
                _close(before.sockets[slot] for slot in before.sockets.keys() - held.sockets.keys())
            if held.sockets:
                self._held[endpoint.docker_id] = held
        for port in published:
            if port.protocol == "udp":
                _forget(partial(forget_calls_to, port.host_ip.version, "udp", port.host_port))
        return published

    def revoke(self, endpoint: Endpoint) -> None:
        """No error if it published nothing."""
        with self._lock:
            held = self._held.pop(endpoint.docker_id, None)
            try:
                self._nft.revoke(endpoint.docker_id)
            finally:
                if held is not None:
                    _close(held.sockets.values())
        if held is not None:
            for address in endpoint.addresses:
                _forget(partial(forget_answers_of, address))

    def close(self) -> None:
        """Give the sockets back. The translation stays in force."""
        with self._lock:
            for held in self._held.values():
                _close(held.sockets.values())
            self._held.clear()

    def _take(
        self,
        endpoint: Endpoint,
        binding: PortBinding,
        addresses: Sequence[IPAddress],
        held: _Held,
        before: _Held | None,
    ) -> Iterator[PublishedPort]:
        """The same host port on every address, the first that is free on all."""
        if not addresses:
            return
        kept = before.sockets if before is not None else {}
        refusal: CiliateError | None = None
        for host_port in self._candidates(binding, kept, addresses):
            slots = [(binding.protocol, address, host_port) for address in addresses]
            slots = [slot for slot in slots if not self._is_served_by_sibling(slot, held.sandbox)]
            taken: dict[Slot, socket.socket] = {}
            try:
                for slot in slots:
                    if slot in held.sockets:
                        continue  # named twice
                    taken[slot] = kept.get(slot) or _reserve(*slot)
            except OSError as error:
                _close(taken[slot] for slot in taken.keys() - kept.keys())
                refusal = self._refusal(slot, error)
                if isinstance(refusal, Conflict):
                    continue
                raise refusal from error
            held.sockets.update(taken)
            yield from (PublishedPort(binding.protocol, ip, port, binding.port) for _, ip, port in slots)
            return
        if refusal is None or binding.host_port_end > binding.host_port > 0:
            raise Exhausted(
                f"no host port is free for port {binding.port}/{binding.protocol} of the container"
                + (f" between {binding.host_port} and {binding.host_port_end}" if binding.host_port else ""),
                hint="publish fewer ports or a wider range",
            )
        raise refusal

    @staticmethod
    def _candidates(
        binding: PortBinding, kept: Mapping[Slot, socket.socket], addresses: Sequence[IPAddress]
    ) -> Iterable[int]:
        if binding.host_port:
            return range(binding.host_port, binding.host_port_end + 1)
        first, last = (int(word) for word in _EPHEMERAL.read_text().split())
        # Where the kernel would look next, so that ports given back are not taken again at once.
        with socket.socket(socket.AF_INET6 if addresses[0].version == 6 else socket.AF_INET) as probe:
            probe.bind((str(addresses[0]), 0))
            start = min(max(probe.getsockname()[1], first), last)
        return itertools.chain(range(start, last + 1), range(first, start))

    def _is_served_by_sibling(self, slot: Slot, sandbox: str) -> bool:
        return bool(sandbox) and any(
            slot in held.sockets for held in self._held.values() if held.sandbox == sandbox
        )

    def _refusal(self, slot: Slot, error: OSError) -> CiliateError:
        protocol, address, _ = slot
        if error.errno == errno.EADDRINUSE:
            holder = next((held.owner for held in self._held.values() if _meets(slot, held.sockets)), "")
            return Conflict(
                f"{_text(slot)} cannot be published: "
                + (
                    f"container {holder} has it" if holder else "something on this host already listens there"
                ),
                hint="publish another host port, or see who has it with `ss -lnp`",
            )
        if error.errno == errno.EADDRNOTAVAIL:
            return InvalidInput(
                f"{_text(slot)} cannot be published: {address} is no address of this host",
                hint="`ip address` lists those that are",
            )
        if protocol == "sctp" and error.errno in (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT):
            return Unsupported(
                f"{_text(slot)} cannot be published: this kernel has no SCTP", hint="modprobe sctp"
            )
        return InvalidInput(f"{_text(slot)} cannot be published: {error.strerror or error}")


def _addresses(
    endpoint: Endpoint, binding: PortBinding, default: IPv4Address, ipv6: bool
) -> Sequence[IPAddress]:
    """The host addresses to bind. Without any named: those of the families that the container has; a default other
    than "all" is meant to narrow, so that it leaves IPv6 out, as Docker's bridge does."""
    if binding.host_ip is not None:
        if binding.host_ip.version == 6 and not ipv6:
            return []
        if all(address.version != binding.host_ip.version for address in endpoint.addresses):
            raise InvalidInput(
                f"port {binding.host_port}/{binding.protocol} cannot be published on {binding.host_ip}: the container "
                f"has no IPv{binding.host_ip.version} address on this network",
                hint="create the network with --ipv6, or publish on an IPv4 address"
                if binding.host_ip.version == 6
                else "publish on an IPv6 address",
            )
        return [binding.host_ip]
    addresses: list[IPAddress] = []
    if endpoint.ipv4 is not None:
        addresses.append(default)
    if endpoint.ipv6 is not None and ipv6 and default.is_unspecified:
        addresses.append(ANY6)
    return addresses


def _forwards(endpoint: Endpoint, ports: Iterable[PublishedPort]) -> list[Forward]:
    targets = {address.version: address for address in endpoint.addresses}
    return [
        Forward(port.protocol, port.host_ip, port.host_port, targets[port.host_ip.version], port.port)
        for port in ports
        if port.host_ip.version in targets
    ]


def _reserve(protocol: str, address: IPAddress, port: int) -> socket.socket:
    """Raises OSError."""
    kind, number = _KINDS[protocol]
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    held = socket.socket(family, kind | socket.SOCK_CLOEXEC, number)
    try:
        content = ctypes.create_string_buffer(_DROP_ALL)
        program = struct.pack("HL", 1, ctypes.addressof(content))
        held.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, program)
        if address.version == 6:
            held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if protocol == "udp":
            held.bind((str(address), port))
        else:
            # Connections of a server that has just ended may linger; only a listener is in the way, and only
            # a listener keeps others out who set the same option.
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind((str(address), port))
            held.listen(1)
    except BaseException:
        held.close()
        raise
    return held


def _meets(slot: Slot, others: Iterable[Slot]) -> bool:
    """Is one of `others` the same port, on an address of the same family?"""
    protocol, address, port = slot
    return any(
        (protocol, address.version, port) == (other[0], other[1].version, other[2]) for other in others
    )


def _close(sockets: Iterable[socket.socket]) -> None:
    for held in sockets:
        held.close()


def _text(slot: Slot) -> str:
    protocol, address, port = slot
    shown = f"[{address}]" if address.version == 6 else str(address)
    return f"port {shown}:{port}/{protocol}"


def _forget(forget: Callable[[], None]) -> None:
    try:
        forget()
    except OSError as error:
        log.info("old flows of a published port end by themselves", error=str(error))
