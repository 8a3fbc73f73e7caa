"""Makes netfilter forget flows, so that a published port serves the container it now belongs to: the entry of a
flow that began before keeps translating to where it went then.

Where it can, the kernel searches by a filter in one message; a kernel too old for the filter refuses the message
as a whole, and old flows then end by their time-outs. By IPv6 address the kernel's filter compares the wrong way
round (seen in 6.18), so these flows are listed and deleted one by one."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator

from model.network import IPAddress

_NETLINK_NETFILTER = 12
_CT_GET, _CT_DELETE = 1 << 8 | 1, 1 << 8 | 2  # subsystem ctnetlink
_REQUEST, _ACK, _DUMP = 1, 4, 0x300
_ERROR, _DONE = 2, 3
_NESTED, _TYPE_MASK = 1 << 15, 0x3FFF
_HEADER = struct.Struct("=IHHII")

_TUPLE_ORIGINAL, _TUPLE_REPLY, _FILTER = 1, 2, 25
_TUPLE_IP, _TUPLE_PROTOCOL = 1, 2
_FILTER_ORIGINAL_FLAGS, _FILTER_REPLY_FLAGS = 1, 2
_IP4_SOURCE, _IP6_SOURCE = 1, 3
_PROTOCOL_NUMBER, _DESTINATION_PORT = 1, 3
_BY_SOURCE, _BY_PROTOCOL, _BY_DESTINATION_PORT = 1 << 0, 1 << 3, 1 << 5

_NUMBERS = {"tcp": 6, "udp": 17, "sctp": 132}


def forget_answers_of(address: IPAddress) -> None:
    """Every flow whose answers come from `address`. Raises OSError."""
    with _netlink() as netlink:
        if address.version == 4:
            source = _nested(_TUPLE_REPLY, _nested(_TUPLE_IP, _attribute(_IP4_SOURCE, address.packed)))
            flags = _attribute(_FILTER_REPLY_FLAGS, struct.pack("=I", _BY_SOURCE))
            _delete(netlink, 4, source + _nested(_FILTER, flags))
        else:
            for flow in list(_flows6(netlink)):
                if _attributes(_attributes(flow[_TUPLE_REPLY])[_TUPLE_IP])[_IP6_SOURCE] == address.packed:
                    _delete(netlink, 6, _nested(_TUPLE_ORIGINAL, flow[_TUPLE_ORIGINAL]))


def forget_calls_to(version: int, protocol: str, port: int) -> None:
    """Every flow opened to this port, whatever the address. Raises OSError."""
    called = _attribute(_PROTOCOL_NUMBER, bytes([_NUMBERS[protocol]]))
    called += _attribute(_DESTINATION_PORT, struct.pack("!H", port))
    flags = _attribute(_FILTER_ORIGINAL_FLAGS, struct.pack("=I", _BY_PROTOCOL | _BY_DESTINATION_PORT))
    with _netlink() as netlink:
        tuple_ = _nested(_TUPLE_ORIGINAL, _nested(_TUPLE_PROTOCOL, called))
        _delete(netlink, version, tuple_ + _nested(_FILTER, flags))


def _netlink() -> socket.socket:
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
    netlink.settimeout(2.0)
    netlink.bind((0, 0))
    return netlink


def _delete(netlink: socket.socket, version: int, attributes: bytes) -> None:
    netlink.send(_message(_CT_DELETE, _REQUEST | _ACK, version, attributes))
    number = -struct.unpack_from("=i", netlink.recv(4096), _HEADER.size)[0]
    if number not in (0, errno.ENOENT):
        raise OSError(number, "netfilter did not delete the flow")


def _flows6(netlink: socket.socket) -> Iterator[dict[int, bytes]]:
    """The attributes of every IPv6 flow."""
    netlink.send(_message(_CT_GET, _REQUEST | _DUMP, 6, b""))
    while True:
        data, offset = netlink.recv(1 << 18), 0
        while offset + _HEADER.size <= len(data):
            length, kind = _HEADER.unpack_from(data, offset)[:2]
            if kind in (_ERROR, _DONE):
                return
            yield _attributes(data[offset + _HEADER.size + 4 : offset + length])
            offset += (length + 3) & ~3


def _message(kind: int, flags: int, version: int, attributes: bytes) -> bytes:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    body = struct.pack("=BBH", family, 1, 0) + attributes
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body


def _attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def _nested(kind: int, payload: bytes) -> bytes:
    return _attribute(kind | _NESTED, payload)


def _attributes(data: bytes) -> dict[int, bytes]:
    found, offset = {}, 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        found[kind & _TYPE_MASK] = data[offset + 4 : offset + length]
        offset += (max(length, 4) + 3) & ~3
    return found
