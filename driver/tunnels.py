"""The tunnel's device, and the kernel's routes to what lies behind other nodes.

One device serves all nodes: where a packet goes and as whose is not the device's business but the programs'. It has the
gateway's MAC address, as all host sides have, asks no neighbours and learns nothing."""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from pyroute2.netlink import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE
from pyroute2.netlink.rtnl import RTM_DELROUTE, RTM_GETLINK, RTM_GETROUTE, RTM_NEWLINK, RTM_NEWROUTE
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.marshal import MarshalRtnl
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from driver.links import (
    AF_INET,
    AF_INET6,
    TABLE_MAIN,
    Attributes,
    Links,
    encode,
    family_of,
    nested,
    up_without_address,
)
from driver.plan import DEVICE_GROUP, GATEWAY_MAC, ROUTE_PROTOCOL, TUNNEL_DEVICES
from driver.rtnetlink import Rtnetlink
from model.errors import Conflict, Unavailable, Unsupported
from model.network import IPAddress, IPNetwork

_UNICAST, _UNREACHABLE = 1, 7
_SCOPE_LINK = 253
_NOARP = 0x80
_ANY: Mapping[str, int] = {}
_PORT = {"vxlan": "IFLA_VXLAN_PORT", "geneve": "IFLA_GENEVE_PORT"}


@dataclass(frozen=True, slots=True)
class Way:
    """How the kernel reaches a slice: by this interface, through the neighbour `via` where there is one, calling
    itself `source` where that is not left to the kernel. Without an interface: not at all, but for the single addresses
    of it that are routed."""

    ifindex: int = 0
    via: IPAddress | None = None
    source: IPAddress | None = None


class Tunnels:
    """For one thread at a time. Works in the network namespace of the thread that makes it."""

    def __init__(self, links: Links, proc_sys: Path = Path("/proc/sys")) -> None:
        self._links = links
        self._proc_sys = proc_sys
        self._parser = MarshalRtnl()
        self._netlink = Rtnetlink()

    def close(self) -> None:
        self._netlink.close()

    def make(self, kind: str, port: int) -> int:
        """The device of this kind, as new ones are, down; or the one that is there, if it has this port. Its ifindex.
        Raises Conflict, Unavailable, or Unsupported."""
        name = TUNNEL_DEVICES[kind]
        present = self._present().get(name)
        if present == (kind, port):
            return socket.if_nametoindex(name)
        if present is not None:
            self._links.delete(name)
        options: Attributes = (
            [("IFLA_VXLAN_COLLECT_METADATA", 1), ("IFLA_VXLAN_LEARNING", 0)]
            if kind == "vxlan"
            else [("IFLA_GENEVE_COLLECT_METADATA", True)]
        )
        data = {"attrs": [*options, (_PORT[kind], port)]}
        attributes = [
            ("IFLA_IFNAME", name),
            ("IFLA_ADDRESS", GATEWAY_MAC),
            ("IFLA_GROUP", DEVICE_GROUP),
            ("IFLA_LINKINFO", nested(IFLA_INFO_KIND=kind, IFLA_INFO_DATA=data)),
        ]
        quiet = {"flags": _NOARP, "change": _NOARP}
        try:
            self._netlink.request(
                [encode(ifinfmsg, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, quiet, attributes)]
            )
        except OSError as error:
            if error.errno == errno.EEXIST:
                raise _taken(kind, port) from error
            if error.errno == errno.EOPNOTSUPP:
                raise Unsupported(
                    f"this kernel has no {kind} devices",
                    hint=f"modprobe {kind}, or set another CILIATE_ROUTING on all nodes",
                ) from error
            raise Unavailable(f"{name} could not be made: {error.strerror or error}") from error
        return socket.if_nametoindex(name)

    def open(self, kind: str, ifindex: int, mtu: int) -> None:
        """Let traffic pass. Repeatable. Raises Unavailable."""
        name = TUNNEL_DEVICES[kind]
        try:
            # The programs hold every source against the node it is behind; a reverse path filter could not.
            for path, value in (
                (f"net/ipv4/conf/{name}/forwarding", "1"),
                (f"net/ipv4/conf/{name}/rp_filter", "0"),
                (f"net/ipv6/conf/{name}/disable_ipv6", "0"),
                (f"net/ipv6/conf/{name}/forwarding", "1"),
                (f"net/ipv6/conf/{name}/accept_ra", "0"),
            ):
                self._write(path, value)
            size = encode(ifinfmsg, RTM_NEWLINK, 0, {"index": ifindex}, [("IFLA_MTU", mtu)])
            self._netlink.request([size, *up_without_address(ifindex)])
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise Conflict(
                    f"{name} could not be opened: something on this host has its UDP port",
                    hint="see who has it with `ss -lunp`, and choose another CILIATE_TUNNEL_PORT on all nodes",
                ) from error
            raise Unavailable(f"{name} could not be opened: {error.strerror or error}") from error

    def keep_only(self, kind: str) -> None:
        """Remove other devices of ours, with their routes; all of them if `kind` is "". Raises Unavailable."""
        for name in self._present():
            if name != TUNNEL_DEVICES.get(kind):
                self._links.delete(name)

    def set_routes(self, wanted: Mapping[IPNetwork, Way]) -> None:
        """Exactly these are our routes to slices; those of IPv6 only where the kernel has it. Raises Unavailable."""
        if not (self._proc_sys / "net/ipv6").exists():
            wanted = {prefix: way for prefix, way in wanted.items() if prefix.version == 4}
        present = dict(self._ours())
        messages = [
            _route(RTM_DELROUTE, 0, prefix, way) for prefix, way in present.items() if prefix not in wanted
        ]
        messages += [
            _route(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, prefix, way)
            for prefix, way in wanted.items()
            if present.get(prefix) != way
        ]
        try:
            self._netlink.request(messages)
        except OSError as error:
            raise Unavailable(
                f"a route to another node's containers could not be set: {error.strerror or error}"
            ) from error

    def neighbours(self, addresses: Collection[IPAddress]) -> dict[IPAddress, int]:
        """Those that are reached without a router, with the interface they are behind."""
        routes = [
            (prefix, message)
            for prefix, message in self._routes()
            if message["proto"] != ROUTE_PROTOCOL and message["type"] == _UNICAST
        ]
        found = {}
        for address in addresses:
            covering = [
                (prefix.prefixlen, -(message.get_attr("RTA_PRIORITY") or 0), index)
                for index, (prefix, message) in enumerate(routes)
                if prefix.version == address.version and address in prefix
            ]
            if not covering:
                continue
            message = routes[max(covering)[2]][1]
            through = any(message.get_attr(name) for name in ("RTA_GATEWAY", "RTA_VIA", "RTA_MULTIPATH"))
            if not through and message.get_attr("RTA_OIF"):
                found[address] = int(message.get_attr("RTA_OIF"))
        return found

    def _present(self) -> dict[str, tuple[str, int]]:
        """Kind and port of each device that has a name of ours."""
        found = {}
        for message in self._dump(ifinfmsg, RTM_GETLINK):
            name = message.get_attr("IFLA_IFNAME")
            if name not in TUNNEL_DEVICES.values():
                continue
            information = message.get_attr("IFLA_LINKINFO")
            kind = information.get_attr("IFLA_INFO_KIND") if information else ""
            data = information.get_attr("IFLA_INFO_DATA") if kind in _PORT else None
            found[name] = (kind, data.get_attr(_PORT[kind]) if data else 0)
        return found

    def _ours(self) -> Iterator[tuple[IPNetwork, Way]]:
        for prefix, message in self._routes():
            if message["proto"] == ROUTE_PROTOCOL:
                if message["type"] == _UNREACHABLE:
                    yield prefix, Way()
                    continue
                via, source = message.get_attr("RTA_GATEWAY"), message.get_attr("RTA_PREFSRC")
                yield (
                    prefix,
                    Way(
                        message.get_attr("RTA_OIF") or 0,
                        ip_address(via) if via else None,
                        ip_address(source) if source else None,
                    ),
                )

    def _routes(self) -> Iterator[tuple[IPNetwork, Any]]:
        for version, zero in ((AF_INET, "0.0.0.0"), (AF_INET6, "::")):
            for message in self._dump(rtmsg, RTM_GETROUTE, {"family": version}):
                if message["table"] == TABLE_MAIN:
                    yield ip_network(f"{message.get_attr('RTA_DST') or zero}/{message['dst_len']}"), message

    def _dump(self, kind: Any, type_: int, fields: Mapping[str, int] = _ANY) -> list[Any]:
        answer = self._netlink.dump(encode(kind, type_, 0, fields, []))
        return [message for whole in answer for message in self._parser.parse(whole)]

    def _write(self, path: str, value: str) -> None:
        file = self._proc_sys / path
        if file.exists() or path.startswith("net/ipv4/"):  # a kernel may have no IPv6
            file.write_text(value)


def _route(type_: int, flags: int, prefix: IPNetwork, way: Way) -> bytes:
    attributes: Attributes = [("RTA_DST", str(prefix.network_address))]
    if way.ifindex:
        attributes.append(("RTA_OIF", way.ifindex))
    if way.via is not None:
        attributes.append(("RTA_GATEWAY", str(way.via)))
    if way.source is not None:
        attributes.append(("RTA_PREFSRC", str(way.source)))
    fields = {
        "family": family_of(prefix.network_address),
        "dst_len": prefix.prefixlen,
        "table": TABLE_MAIN,
        "proto": ROUTE_PROTOCOL,
        "scope": _SCOPE_LINK if prefix.version == 4 and way.ifindex and way.via is None else 0,
        "type": _UNICAST if way.ifindex else _UNREACHABLE,
    }
    return encode(rtmsg, type_, flags, fields, attributes)


def _taken(kind: str, port: int) -> Conflict:
    return Conflict(
        f"another {kind} device of this host has UDP port {port}",
        hint="choose another CILIATE_TUNNEL_PORT on all nodes, or remove the other device",
    )
