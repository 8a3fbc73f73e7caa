"""Makes, opens and removes links. With tunnels.py and hostview.py the only one that speaks rtnetlink.

pyroute2 encodes the messages; they travel in batches over a socket of our own, because a container's start pays
for every round trip."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from pyroute2.netlink import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE
from pyroute2.netlink.rtnl import (
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWROUTE,
)
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.marshal import MarshalRtnl
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from driver.plan import DEVICE_GROUP, GATEWAY_DEVICE, GATEWAY_MAC, HOST_PREFIX, LinkPlan
from driver.rtnetlink import Rtnetlink
from model.errors import Unavailable
from model.network import IPAddress

AF_INET, AF_INET6 = int(socket.AF_INET), int(socket.AF_INET6)
TABLE_MAIN, _TABLE_LOCAL = 254, 255
_TYPE_UNICAST, _TYPE_LOCAL = 1, 2
_SCOPE_HOST, _SCOPE_LINK = 254, 253
_PROTOCOL_STATIC = 4
_NEIGHBOUR_PERMANENT = 0x80
_ADDRGEN_NONE = 1
_NO_DAD, _NO_PREFIX_ROUTE = 0x02, 0x200
_LOOPBACK_METRIC = 4096
_IFF_UP = 1

Attributes = list[tuple[str, Any]]


class Links:
    """Safe for many threads. Works in the network namespace of the thread that makes it; `proc_sys` is where
    sysctls are written."""

    def __init__(self, proc_sys: Path = Path("/proc/sys")) -> None:
        self._proc_sys = proc_sys
        self._parser = MarshalRtnl()
        self._netlink = Rtnetlink()

    def close(self) -> None:
        self._netlink.close()

    def create(self, plan: LinkPlan) -> int:
        """Make the pair, both ends down in this namespace; answers the host side's ifindex. A pair of the same
        name left by an earlier attempt is replaced. Raises Unavailable."""
        peer = nested(
            IFLA_IFNAME=plan.container_name,
            IFLA_ADDRESS=plan.container_mac,
            IFLA_MTU=plan.mtu,
            IFLA_GROUP=DEVICE_GROUP,
        )
        pair = encode(
            ifinfmsg,
            RTM_NEWLINK,
            NLM_F_CREATE | NLM_F_EXCL,
            {},
            [
                ("IFLA_IFNAME", plan.host_name),
                ("IFLA_ADDRESS", GATEWAY_MAC),
                ("IFLA_MTU", plan.mtu),
                ("IFLA_GROUP", DEVICE_GROUP),
                (
                    "IFLA_LINKINFO",
                    nested(IFLA_INFO_KIND="veth", IFLA_INFO_DATA=nested(VETH_INFO_PEER=peer)),
                ),
            ],
        )
        self._replacing(plan, lambda: self._netlink.request([pair]))
        return socket.if_nametoindex(plan.host_name)

    def adopt(self, spare: LinkPlan, plan: LinkPlan) -> int:
        """Turn the pair `spare`, which is down, into `plan`; answers the host side's ifindex, which stays. Raises
        Unavailable."""

        def change() -> None:
            host, container = (
                socket.if_nametoindex(spare.host_name),
                socket.if_nametoindex(spare.container_name),
            )
            renamed = [("IFLA_IFNAME", plan.host_name), ("IFLA_MTU", plan.mtu)]
            turned = [
                ("IFLA_IFNAME", plan.container_name),
                ("IFLA_MTU", plan.mtu),
                ("IFLA_ADDRESS", plan.container_mac),
            ]
            self._netlink.request(
                [
                    encode(ifinfmsg, RTM_NEWLINK, 0, {"index": host}, renamed),
                    encode(ifinfmsg, RTM_NEWLINK, 0, {"index": container}, turned),
                ]
            )

        self._replacing(plan, change)
        return socket.if_nametoindex(plan.host_name)

    def open(self, plan: LinkPlan, ifindex: int) -> None:
        """Let traffic pass: sysctls, up, host routes, neighbours. Repeatable. Raises Unavailable."""
        messages = up_without_address(ifindex)
        for route in plan.routes:
            family = family_of(route.address)
            source: Attributes = [("RTA_PREFSRC", str(route.source))] if route.source else []
            messages += [
                encode(
                    rtmsg,
                    RTM_NEWROUTE,
                    NLM_F_CREATE | NLM_F_REPLACE,
                    {
                        "family": family,
                        "dst_len": route.address.max_prefixlen,
                        "table": TABLE_MAIN,
                        "proto": _PROTOCOL_STATIC,
                        "scope": _SCOPE_LINK if family == AF_INET else 0,
                        "type": _TYPE_UNICAST,
                    },
                    [("RTA_DST", str(route.address)), ("RTA_OIF", ifindex), *source],
                ),
                encode(
                    ndmsg,
                    RTM_NEWNEIGH,
                    NLM_F_CREATE | NLM_F_REPLACE,
                    {"family": family, "ifindex": ifindex, "state": _NEIGHBOUR_PERMANENT},
                    [("NDA_DST", str(route.address)), ("NDA_LLADDR", plan.container_mac)],
                ),
            ]
        try:
            for path, value in plan.sysctls:
                self._write(path, value)
            self._netlink.request(messages)
        except OSError as error:
            raise Unavailable(
                f"interface {plan.host_name} could not be set up: {error.strerror or error}"
            ) from error

    def shut(self, ifindex: int) -> None:
        """Let nothing pass. No error if the link is gone. Raises Unavailable."""
        down = encode(ifinfmsg, RTM_NEWLINK, 0, {"index": ifindex, "change": _IFF_UP}, [])
        try:
            self._netlink.request([down])
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise Unavailable(f"interface {ifindex} could not be set down: {error.strerror}") from error

    def delete(self, name: str) -> None:
        """Remove a link, and with it its other end and routes. No error if it is not there."""
        self._delete({}, [("IFLA_IFNAME", name)], name)

    def delete_number(self, ifindex: int) -> None:
        """As `delete`; an ifindex is never given to another link."""
        self._delete({"index": ifindex}, [], str(ifindex))

    def _delete(self, fields: Mapping[str, int], attributes: Attributes, what: str) -> None:
        try:
            self._netlink.request([encode(ifinfmsg, RTM_DELLINK, 0, fields, attributes)])
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise Unavailable(
                    f"interface {what} could not be removed: {error.strerror or error}"
                ) from error

    def allow_loopback(self, name: str, ifindex: int, *, ipv6: bool) -> None:
        """Let the host reach published ports through 127.0.0.1 and ::1: answers to the loopback address come
        back through this interface. The container itself cannot make use of it, the datapath drops what it
        sends to a loopback address. IPv6 has no route_localnet; a local route of the interface does the same,
        because the kernel looks up ::1 strictly by input interface."""
        self._write(f"net/ipv4/conf/{name}/route_localnet", "1")
        if ipv6:
            self._netlink.request(
                [
                    encode(
                        rtmsg,
                        RTM_NEWROUTE,
                        NLM_F_CREATE | NLM_F_REPLACE,
                        {
                            "family": AF_INET6,
                            "dst_len": 128,
                            "table": _TABLE_LOCAL,
                            "proto": _PROTOCOL_STATIC,
                            "type": _TYPE_LOCAL,
                        },
                        [("RTA_DST", "::1"), ("RTA_OIF", ifindex), ("RTA_PRIORITY", _LOOPBACK_METRIC)],
                    )
                ]
            )

    def set_gateways(self, gateways: set[IPAddress]) -> None:
        """Exactly these addresses on GATEWAY_DEVICE, which exists only while there are any."""
        try:
            if not gateways:
                self.delete(GATEWAY_DEVICE)
                return
            ifindex = self._gateway_device()
            present = self._addresses(ifindex)
            messages = [
                encode(
                    ifaddrmsg,
                    RTM_NEWADDR if wanted else RTM_DELADDR,
                    NLM_F_CREATE | NLM_F_REPLACE if wanted else 0,
                    {"family": family_of(address), "prefixlen": address.max_prefixlen, "index": ifindex},
                    [
                        ("IFA_LOCAL" if address.version == 4 else "IFA_ADDRESS", str(address)),
                        *([("IFA_FLAGS", _NO_DAD | _NO_PREFIX_ROUTE)] if wanted else []),
                    ],
                )
                for wanted, addresses in ((True, gateways - present), (False, present - gateways))
                for address in addresses
            ]
            self._netlink.request(messages)
        except OSError as error:
            raise Unavailable(f"{GATEWAY_DEVICE} could not be set up: {error.strerror or error}") from error

    def present(self) -> dict[str, int]:
        """Name and ifindex of every host side there is, whoever knows of it."""
        return {
            link.get_attr("IFLA_IFNAME"): link["index"]
            for link in self._dump(ifinfmsg, RTM_GETLINK)
            if link.get_attr("IFLA_GROUP") == DEVICE_GROUP
            and link.get_attr("IFLA_IFNAME").startswith(HOST_PREFIX)
        }

    def _gateway_device(self) -> int:
        try:
            return socket.if_nametoindex(GATEWAY_DEVICE)
        except OSError:
            kind = ("IFLA_LINKINFO", nested(IFLA_INFO_KIND="bridge"))
            made = [("IFLA_IFNAME", GATEWAY_DEVICE), kind]
            self._netlink.request([encode(ifinfmsg, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, {}, made)])
            ifindex = socket.if_nametoindex(GATEWAY_DEVICE)
            self._netlink.request(up_without_address(ifindex))
            return ifindex

    def _addresses(self, ifindex: int) -> set[IPAddress]:
        return {
            ip_address(message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS"))
            for message in self._dump(ifaddrmsg, RTM_GETADDR)
            if message["index"] == ifindex
        }

    def _write(self, path: str, value: str) -> None:
        file = self._proc_sys / path
        try:
            file.write_text(value)
        except OSError as error:
            # A kernel without IPv6 has nothing to switch off there.
            if not (error.errno == errno.ENOENT and path.startswith("net/ipv6/")):
                raise OSError(error.errno, f"{file}: {os.strerror(error.errno or 0)}") from error

    def _replacing(self, plan: LinkPlan, make: Callable[[], None]) -> None:
        """Make it, in place of interfaces that have its names."""
        try:
            try:
                make()
            except FileExistsError:
                self.delete(plan.host_name)
                self.delete(plan.container_name)
                make()
        except OSError as error:
            raise Unavailable(
                f"interface {plan.host_name} could not be made: {error.strerror or error}"
            ) from error

    def _dump(self, kind: Callable[[], Any], type_: int) -> list[Any]:
        answer = self._netlink.dump(encode(kind, type_, 0, {}, []))
        return [message for whole in answer for message in self._parser.parse(whole)]


def up_without_address(ifindex: int) -> list[bytes]:
    """In two steps: in one the kernel would bring it up first, and give it a link-local address."""
    none = nested(AF_INET6=nested(IFLA_INET6_ADDR_GEN_MODE=_ADDRGEN_NONE))
    up = {"index": ifindex, "flags": _IFF_UP, "change": _IFF_UP}
    return [
        encode(ifinfmsg, RTM_NEWLINK, 0, {"index": ifindex}, [("IFLA_AF_SPEC", none)]),
        encode(ifinfmsg, RTM_NEWLINK, 0, up, []),
    ]


def encode(
    kind: Callable[[], Any], type_: int, flags: int, fields: Mapping[str, int], attributes: Attributes
) -> bytes:
    encoded = kind()
    encoded["header"]["type"], encoded["header"]["flags"] = type_, flags
    for name, value in fields.items():
        encoded[name] = value
    encoded["attrs"] = attributes
    encoded.encode()
    return bytes(encoded.data)


def nested(**attributes: Any) -> dict[str, Attributes]:
    return {"attrs": list(attributes.items())}


def family_of(address: IPAddress) -> int:
    return AF_INET if address.version == 4 else AF_INET6
