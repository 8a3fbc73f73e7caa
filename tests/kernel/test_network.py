"""The programs on real veths, between real stacks."""

from __future__ import annotations

import os
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path

import pytest

from datapath import syscall
from datapath.attributes import AttachType, MapType
from datapath.features import has_tcx
from datapath.instruction import call, encode
from model.flow import Direction, DropReason
from tests.conftest import require
from tests.kernel.datapath.assembly import PASS, answering, counting, load
from tests.kernel.harness import HOST4, HOST6, OPEN, SEALED, WORLD4, WORLD6, A, B, Node
from tests.kernel.network import PATIENCE, Network, Place, connected, echo, quiet
from tests.kernel.packets import (
    DESTINATION,
    IPV4,
    IPV6,
    VLAN,
    Payload,
    ethernet,
    extension,
    icmp,
    ipv4,
    ipv6,
    udp,
)

FAMILIES = pytest.mark.parametrize("v6", [False, True], ids=["IPv4", "IPv6"])


@pytest.fixture
def net(kept_node: Node) -> Iterator[Network]:
    kept_node.reset()
    with ExitStack() as stack:
        yield Network(kept_node, stack)


PAIRS = {
    "container and container": ("a", "b", B.ipv4, B.ipv6),
    "container and host": ("a", "host", HOST4, HOST6),
    "host and container": ("host", "a", A.ipv4, A.ipv6),
    "container and world": ("a", "world", WORLD4, WORLD6),
    "world and container": ("world", "a", A.ipv4, A.ipv6),
}


@FAMILIES
@pytest.mark.parametrize(("one", "other", "four", "six"), PAIRS.values(), ids=PAIRS.keys())
class TestTheyTalk:
    """With nobody's neighbour known beforehand: ARP and neighbour discovery come first."""

    def test_by_tcp(self, net: Network, one: str, other: str, four: str, six: str, v6: bool) -> None:
        near, far = connected(getattr(net, one), getattr(net, other), six if v6 else four)
        with near, far:
            near.sendall(b"question")
            assert far.recv(100) == b"question"
            far.sendall(b"answer" * 10_000)
            far.shutdown(socket.SHUT_WR)
            assert b"".join(iter(lambda: near.recv(1 << 16), b"")) == b"answer" * 10_000

    @pytest.mark.parametrize("size", [1, 1400, 9000, 30_000])
    def test_by_udp(
        self, net: Network, one: str, other: str, four: str, six: str, v6: bool, size: int
    ) -> None:
        """What is larger than a frame travels in fragments."""
        address = six if v6 else four
        data = bytes(range(256)) * (size // 256) + bytes(size % 256)
        with getattr(net, other).datagrams(address, 53) as server:
            near = getattr(net, one).socket(address, socket.SOCK_DGRAM)
            with near as client:
                assert echo(client, server, (address, 53), data) == data

    def test_by_ping(self, net: Network, one: str, other: str, four: str, six: str, v6: bool) -> None:
        protocol = socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP
        request, reply = (128, 129) if v6 else (8, 0)
        message = struct.pack("!BBHHH", request, 0, 0, 77, 1)
        if not v6:
            message = struct.pack("!BBHHH", request, 0, 0xFFFF - (request << 8) - 77 - 1, 77, 1)
        with getattr(net, one).socket(six if v6 else four, socket.SOCK_RAW, protocol) as raw:
            raw.sendto(message, (six if v6 else four, 0))
            while (answer := raw.recv(100)[0 if v6 else 20 :])[0] != reply:
                pass
            assert struct.unpack("!HH", answer[4:8]) == (77, 1)


class TestARuleThatGoes:
    @FAMILIES
    @pytest.mark.parametrize("peer", ["b", "world"])
    def test_stops_a_live_connection_at_its_next_packet(self, net: Network, peer: str, v6: bool) -> None:
        target = {"b": (B.ipv4, B.ipv6), "world": (WORLD4, WORLD6)}[peer][v6]
        near, far = connected(net.a, getattr(net, peer), target)
        with near, far:
            near.sendall(b"before")
            assert far.recv(100) == b"before"
            net.node.allow(
                A, {key: entry for key, entry in OPEN.items() if key.direction is Direction.INGRESS}
            )
            near.sendall(b"after")
            assert quiet(far)
            assert net.counted(DropReason.POLICY_DENIED) > 0
            net.node.allow(A, OPEN)
            assert far.recv(100) == b"after", "and it goes on when the rule is back"

    @FAMILIES
    def test_stops_a_stream_of_answers_alone(self, net: Network, v6: bool) -> None:
        """The asker says nothing any more; the answers are judged by its question."""
        with net.b.datagrams(B.ipv6 if v6 else B.ipv4, 53) as server:
            client = net.a.socket("::" if v6 else "0.0.0.0", socket.SOCK_DGRAM)
            with client:
                client.sendto(b"send me all", (B.ipv6 if v6 else B.ipv4, 53))
                _, asker = server.recvfrom(100)
                for _ in range(3):
                    server.sendto(b"some", asker)
                    assert client.recv(100) == b"some"
                net.node.allow(B, SEALED)
                server.sendto(b"more", asker)
                assert quiet(client)
                assert net.counted(DropReason.POLICY_DENIED, Direction.INGRESS) == 1

    def test_stops_a_download_in_full_flight(self, net: Network) -> None:
        near, far = connected(net.a, net.b, B.ipv4)
        with near, far:

            def pour() -> None:
                try:
                    while True:
                        far.sendall(bytes(1 << 16))
                except OSError:
                    pass

            pouring = threading.Thread(target=pour)
            pouring.start()
            try:
                assert sum(len(near.recv(1 << 20)) for _ in range(50)) > 0
                net.node.allow(B, SEALED)
                assert quiet(near)
            finally:
                far.shutdown(socket.SHUT_RDWR)
                far.close()
                pouring.join()


class TestTheSendersSocket:
    """As long as it is attached to the packet, TCP knows what has not arrived yet."""

    def count_those_with_socket(self, place: Place) -> int:
        """By a program at the container's own interface, in the array that this returns."""
        array = syscall.create_map(MapType.ARRAY, 4, 8, 1)
        count = counting(array, PASS)
        get_socket_cookie = 46
        program = load(
            call(get_socket_cookie) + encode(0x15, 0, offset=len(count) // 8) + count + answering(PASS)
        )
        with place.entered():
            syscall.attach_program(program, socket.if_nametoindex("eth0"), AttachType.TCX_INGRESS)
        os.close(program)
        return array

    def test_stays_attached_between_containers(self, net: Network) -> None:
        require(has_tcx(socket.if_nametoindex("lo")), "tcx")
        array = self.count_those_with_socket(net.b)
        near, far = connected(net.a, net.b, B.ipv4)
        with near, far:
            near.sendall(b"data")
            assert far.recv(100) == b"data"
        assert int.from_bytes(syscall.lookup(array, bytes(4), 8) or b"", "little") >= 3
        os.close(array)


SHORT = [(kind, length) for kind, length in product((IPV4, IPV6), (0, 10, 19))]


class TestWhatARawSocketSends:
    def wait(self, net: Network, reason: DropReason, before: int, packets: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while net.counted(reason) < before + packets and time.monotonic() < deadline:
            time.sleep(0.01)
        assert net.counted(reason) == before + packets

    @pytest.mark.parametrize(("kind", "length"), SHORT)
    def test_a_frame_that_ends_in_its_ip_header_is_dropped(
        self, net: Network, kind: int, length: int
    ) -> None:
        build = ipv6 if kind == IPV6 else ipv4
        source, target = (A.ipv6, B.ipv6) if kind == IPV6 else (A.ipv4, B.ipv4)
        with net.a.wire() as wire:
            before = net.counted(DropReason.INVALID_PACKET)
            wire.send(ethernet(kind, build(source, target, udp(1, 2))[:length], source=A.mac))
            self.wait(net, DropReason.INVALID_PACKET, before, 1)

    def test_a_tag_is_seen_though_the_kernel_has_taken_it_off(self, net: Network) -> None:
        packet = ipv4(A.ipv4, B.ipv4, udp(4000, 53, b"tagged"))
        with net.a.wire() as wire, net.b.datagrams(B.ipv4, 53) as server:
            before = net.counted(DropReason.VLAN)
            for tags in (struct.pack("!HH", VLAN, 5), struct.pack("!HHHH", 0x88A8, 6, VLAN, 5)):
                wire.send(ethernet(IPV4, packet, source=A.mac, tag=tags))
            self.wait(net, DropReason.VLAN, before, 2)
            assert quiet(server)

    BIG: dict[str, tuple[int, Payload]] = {
        "UDP": (IPV4, udp(4000, 53, bytes(5000))),
        "UDP over IPv6": (IPV6, udp(4000, 53, bytes(5000))),
        "UDP behind options": (IPV6, extension(DESTINATION, udp(4000, 53, bytes(5000)), words=9)),
    }

    @pytest.mark.parametrize(("kind", "payload"), BIG.values(), ids=BIG.keys())
    def test_headers_outside_the_linear_part_are_read(
        self, net: Network, kind: int, payload: Payload
    ) -> None:
        net.set_mtu(A, net.a, 9000)
        source, target = (A.ipv6, B.ipv6) if kind == IPV6 else (A.ipv4, B.ipv4)
        build = ipv6 if kind == IPV6 else ipv4
        with net.a.wire() as wire:
            send_non_linear(wire, ethernet(kind, build(source, target, payload), source=A.mac))
        (flow,) = net.node.flows()
        assert (flow.source_port, flow.destination_port, flow.protocol) == (4000, 53, 17)

    def test_an_error_outside_the_linear_part_is_read(self, net: Network) -> None:
        net.set_mtu(A, net.a, 9000)
        with net.b.datagrams(B.ipv4, 4000) as client:
            client.sendto(b"question", (A.ipv4, 53))
            returned = ipv4(B.ipv4, A.ipv4, udp(4000, 53, b"question"))
            packet = ipv4(A.ipv4, B.ipv4, icmp(3, 2, data=returned + bytes(4500)))
            before = net.counted(DropReason.NONE)
            unrelated = net.counted(DropReason.ICMP_UNRELATED)
            with net.a.wire() as wire:
                send_non_linear(wire, ethernet(IPV4, packet, source=A.mac))
            self.wait(net, DropReason.NONE, before, 1)
            assert net.counted(DropReason.ICMP_UNRELATED) == unrelated


def send_non_linear(wire: socket.socket, frame: bytes) -> None:
    """Only the Ethernet header lies in the linear part of the buffer that comes of this."""
    packet_vnet_hdr, sol_packet = 15, 263
    wire.setsockopt(sol_packet, packet_vnet_hdr, 1)
    wire.send(struct.pack("=BBHHHH", 0, 0, 0, 0, 0, 0) + frame)


class TestLinkMessages:
    def test_a_probe_for_an_address_finds_it_free(self, net: Network) -> None:
        """The gateway, which answers for every address, does not answer those who want one."""
        net.a.ip("addr add fd00::2:2/64 dev eth0")
        deadline = time.monotonic() + PATIENCE
        while "tentative" in (state := net.a.ip("addr show dev eth0")) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert "fd00::2:2" in state
        assert "fe80::" in state
        assert "tentative" not in state
        assert "dadfailed" not in state
        assert net.counted(DropReason.NEIGHBOUR_FORBIDDEN) >= 2

    def test_none_of_them_reaches_the_host(self, net: Network) -> None:
        with net.a.entered():
            index = socket.if_nametoindex("eth0")
        with net.a.socket("::", socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
            raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
            before = net.counted(DropReason.NEIGHBOUR_FORBIDDEN)
            for kind, group in ((133, "ff02::2"), (134, "ff02::1"), (137, "ff02::1"), (143, "ff02::16")):
                raw.sendto(bytes([kind]) + bytes(39), (group, 0, 0, index))
        assert net.counted(DropReason.NEIGHBOUR_FORBIDDEN) >= before + 4
        with net.host.entered():
            heard = Path("/proc/thread-self/net/snmp6").read_text()
        assert re.search(r"^Icmp6InMsgs\s+0$", heard, re.MULTILINE)
