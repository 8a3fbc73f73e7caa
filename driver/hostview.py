"""Watches the host's links, addresses and routes, and says so when what they mean has changed.

Each container's start makes half a dozen notifications about our own interfaces. They are recognized by their
first bytes and dropped before they cost anything."""

from __future__ import annotations

import errno
import select
import socket
import struct
import threading
from collections.abc import Callable, Collection
from ipaddress import ip_interface, ip_network
from typing import Any

import structlog
from pyroute2.netlink.rtnl import (
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELROUTE,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
)
from pyroute2.netlink.rtnl.marshal import MarshalRtnl

from driver.hostfacts import Address, HostFacts, Link, Route, classify
from driver.plan import ROUTE_PROTOCOL
from driver.rtnetlink import HEADER, Notifications, Rtnetlink

SETTLE_SECONDS = 0.05
"""Changes come in bursts; the meaning is worked out once they pause this long."""

REREAD_SECONDS = 600.0
"""The kernel does not tell of every route that goes with its device or source address."""

REST_SECONDS = 5.0
"""After a failure."""

log = structlog.get_logger("driver")

_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400  # link, IPv4 address and route, IPv6 address and route
_MAIN_TABLE, _LOCAL_TABLE = 254, 255
_UNICAST, _LOCAL, _BROADCAST, _ANYCAST = 1, 2, 3, 4
_IFF_UP, _IFF_LOOPBACK = 0x1, 0x8
_RTA_OIF = 4
_ARPHRD_ETHER = 1


class HostView:
    """`facts` are up to date when `start` returns. `changed` is called with them then, and later from a thread of
    this class each time they differ."""

    def __init__(self, devices: Collection[str], changed: Callable[[HostFacts], None]) -> None:
        self._devices = tuple(devices)
        self._changed = changed
        self._parser = MarshalRtnl()
        self._links: dict[int, Link] = {}
        self._addresses: dict[Address, None] = {}
        """In the kernel's order: the first of an interface is the one that it sends from."""
        self._routes: set[Route] = set()
        self._facts: HostFacts | None = None
        self._netlink = Rtnetlink()
        self._notifications = Notifications(_GROUPS)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hostview", daemon=True)

    @property
    def facts(self) -> HostFacts:
        return self._facts or HostFacts()

    def start(self) -> None:
        self._read_all()
        self._publish()
        self._thread.start()

    def close(self) -> None:
        self._stopping.set()
        self._thread.join()
        self._notifications.close()
        self._netlink.close()

    def _run(self) -> None:
        quiet = 0.0
        dirty = False
        while not self._stopping.is_set():
            wait = SETTLE_SECONDS if dirty else 0.5
            try:
                if select.select([self._notifications], [], [], wait)[0]:
                    dirty = self._take() or dirty
                    continue
                quiet += wait
                if quiet >= REREAD_SECONDS:
                    quiet, dirty = 0.0, True
                    self._read_all()
            except Exception:
                log.exception("a notification of the kernel was not understood; reading all anew")
                self._stopping.wait(REST_SECONDS)
                quiet = REREAD_SECONDS
                continue
            if dirty:
                dirty = False
                self._publish()

    def _take(self) -> bool:
        """Read what has come. True if any of it is about others than our own interfaces."""
        try:
            messages = self._notifications.read()
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            self._read_all()
            return True
        matters = [self._apply(kind, whole) for kind, whole in messages]
        return any(matters)

    def _read_all(self) -> None:
        # A dump of one kind only: the kernel wants a struct with the family first, 0 for all.
        self._links, self._addresses, self._routes = {}, {}, set()
        for kind, size in ((RTM_GETLINK, 16), (RTM_GETADDR, 8), (RTM_GETROUTE, 12)):
            for whole in self._netlink.dump(HEADER.pack(HEADER.size + size, kind, 0, 0, 0) + bytes(size)):
                self._apply(HEADER.unpack_from(whole)[1], whole)

    def _apply(self, kind: int, whole: bytes) -> bool:
        """Take over one message. False if it does not matter."""
        if kind in (RTM_NEWLINK, RTM_DELLINK):
            return self._apply_link(kind, whole)
        if kind in (RTM_NEWADDR, RTM_DELADDR):
            return self._apply_address(kind, whole)
        if kind in (RTM_NEWROUTE, RTM_DELROUTE):
            return self._apply_route(kind, whole)
        return False

    def _apply_link(self, kind: int, whole: bytes) -> bool:
        family, index = struct.unpack_from("=B3xi", whole, HEADER.size)
        known = self._links.get(index)
        if family != 0 or (kind == RTM_NEWLINK and known is not None and known.is_ours):
            return False  # a family is given where a bridge speaks of its port
        if kind == RTM_DELLINK:
            self._links.pop(index, None)
            self._addresses = {address: None for address in self._addresses if address[0] != index}
            self._routes = {route for route in self._routes if route.ifindex != index}
            return known is not None and not known.is_ours
        message = self._parse(whole)
        information = message.get_attr("IFLA_LINKINFO")
        made_by = (information.get_attr("IFLA_INFO_KIND") or "") if information else ""
        link = Link(
            ifindex=index,
            name=message.get_attr("IFLA_IFNAME"),
            kind="tap" if made_by == "tun" and message["ifi_type"] == _ARPHRD_ETHER else made_by,
            group=message.get_attr("IFLA_GROUP") or 0,
            mtu=message.get_attr("IFLA_MTU") or 0,
            master=message.get_attr("IFLA_MASTER") or 0,
            up=bool(message["flags"] & _IFF_UP),
            loopback=bool(message["flags"] & _IFF_LOOPBACK),
        )
        self._links[index] = link
        if not link.up:  # its IPv4 routes went without a notification
            self._routes = {route for route in self._routes if route.ifindex != index}
        return link != known and not link.is_ours

    def _apply_address(self, kind: int, whole: bytes) -> bool:
        message = self._parse(whole)
        text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
        address = (message["index"], ip_interface(f"{text}/{message['prefixlen']}"))
        if kind == RTM_NEWADDR:
            self._addresses.setdefault(address)
        else:
            self._addresses.pop(address, None)
        return True

    def _apply_route(self, kind: int, whole: bytes) -> bool:
        family, length, table, protocol, type_ = struct.unpack_from("=BB2xBBxB", whole, HEADER.size)
        if protocol == ROUTE_PROTOCOL:
            return False  # to containers of other nodes
        link = self._links.get(_output(whole))
        local = type_ in (_LOCAL, _BROADCAST, _ANYCAST)
        if not (local or type_ == _UNICAST) or table not in (_MAIN_TABLE, _LOCAL_TABLE):
            return False
        if link is not None and link.is_ours:
            return False
        message = self._parse(whole)
        destination = message.get_attr("RTA_DST") or ("0.0.0.0" if family == socket.AF_INET else "::")
        hops = message.get_attr("RTA_MULTIPATH") or []
        for index in [hop["oif"] for hop in hops] or [message.get_attr("RTA_OIF") or 0]:
            network = ip_network(f"{destination}/{length}")
            route = Route(network, index, message.get_attr("RTA_PRIORITY") or 0, local)
            if kind == RTM_NEWROUTE:
                self._routes.add(route)
            else:
                self._routes.discard(route)
        return True

    def _parse(self, whole: bytes) -> Any:
        return next(iter(self._parser.parse(whole)))

    def _publish(self) -> None:
        facts = classify(self._links.values(), self._addresses, self._routes, self._devices)
        if facts != self._facts:
            self._facts = facts
            try:
                self._changed(facts)
            except Exception:
                # Whoever listens retries on its own; the next change must still be seen.
                log.exception("a change of the host's links could not be taken over")


def _output(whole: bytes) -> int:
    """The output interface of a route, 0 if it has several or none."""
    offset = HEADER.size + 12
    while offset + 4 <= len(whole):
        length, kind = struct.unpack_from("=HH", whole, offset)
        if kind == _RTA_OIF:
            return int(struct.unpack_from("=i", whole, offset + 4)[0])
        offset += (max(length, 4) + 3) & ~3
    return 0
