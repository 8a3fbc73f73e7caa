"""Containers of two hosts talk as if they were on one, and each is known to the other by its identity."""

from __future__ import annotations

import socket
import subprocess
import threading
from ipaddress import ip_address

import pytest

from driver.options import PortBinding
from model.flow import Direction, DropReason, Verdict
from policy.mapstate import PolicyEntry, PolicyKey
from tests.kernel.network import connected, echo, quiet
from tests.kernel.overlay.bed import Bed, Cast, Container, Host
from tests.kernel.overlay.forgery import on_the_wire, send
from tests.kernel.overlay.test_forgery import dropped
from tests.kernel.packets import ipv4, udp

DONT_FRAGMENT = {4: (socket.SOL_IP, 10, 14), 6: (socket.IPPROTO_IPV6, 23, 24)}
"""Level; IP_MTU_DISCOVER, whose value 2 means always; IP_MTU. The same for IPv6."""

FAMILIES = pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])


def test_tcp_and_udp_pass_both_ways(bed: Bed) -> None:
    a, b = bed.a, bed.b
    for near, far in ((a, b), (b, a)):
        for source, address in zip(near.addresses, far.addresses, strict=True):
            client, server = connected(near, far, address)
            with client, server:
                assert server.getpeername()[0] == source
                client.sendall(b"over there")
                assert server.recv(100) == b"over there"
            with near.datagrams(source) as client, far.datagrams(address, 53) as server:
                assert echo(client, server, (address, 53), b"?") == b"?"


@FAMILIES
def test_the_receiver_judges_by_the_senders_identity(bed: Bed, family: int) -> None:
    a, b, one = bed.a, bed.b, bed.one
    address = a.addresses[family]
    one.events()

    def allow(identity: int) -> None:
        a.know(
            {
                PolicyKey(Direction.INGRESS, identity): PolicyEntry(),
                PolicyKey(Direction.EGRESS): PolicyEntry(),
            }
        )

    try:
        allow(b.identity)
        client, server = connected(b, a, address)
        with client, server:
            (news,) = [event for event in one.events() if event.verdict is Verdict.FORWARDED]
            assert (news.source_identity, news.destination_identity) == (b.identity, a.identity)
            assert (news.endpoint, news.direction) == (a.endpoint.id, Direction.INGRESS)
            allow(b.identity + 1)
            client.sendall(b"more")
            assert dropped(one, DropReason.POLICY_DENIED), "a rule that is gone stops what runs"
        event = one.events()[-1]
        assert (event.verdict, event.source_identity) == (Verdict.DROPPED, b.identity)
    finally:
        a.know()


@FAMILIES
def test_the_sender_is_judged_by_the_receivers_identity(bed: Bed, family: int) -> None:
    a, b = bed.a, bed.b
    try:
        a.know({PolicyKey(Direction.EGRESS, b.identity, 6, 80, 16): PolicyEntry()})
        for end in connected(a, b, b.addresses[family]):
            end.close()
        with a.socket(b.addresses[family], socket.SOCK_DGRAM) as client:
            client.sendto(b"?", (b.addresses[family], 53))
        assert dropped(bed.one, DropReason.POLICY_DENIED)
    finally:
        a.know()


@FAMILIES
def test_an_error_comes_back_to_who_caused_it(bed: Bed, family: int) -> None:
    for near, far in ((bed.a, bed.b), (bed.a, bed.two), (bed.two, bed.a)):
        with near.socket(address_of(far, family), socket.SOCK_DGRAM) as client:
            client.connect((address_of(far, family), 9))
            client.send(b"nobody listens")
            with pytest.raises(ConnectionRefusedError):
                client.recv(1)


def address_of(place: Host | Container, family: int) -> str:
    if isinstance(place, Container):
        return place.addresses[family]
    return str(place.address6 if family else place.address)


@FAMILIES
def test_a_container_and_the_other_host_know_each_other(bed: Bed, family: int) -> None:
    """The host sees the container's own address, and is known as a node."""
    a, one, two = bed.a, bed.one, bed.two
    client, server = connected(a, two, address_of(two, family), 81)
    with client, server:
        assert server.getpeername()[0] == a.addresses[family]
    one.events()
    client, server = connected(two, a, a.addresses[family])
    with client, server:
        assert server.getpeername()[0] == address_of(two, family)
        assert [event.source_identity for event in one.events()] == [6]
    try:
        a.know({PolicyKey(Direction.INGRESS, 2): PolicyEntry()})
        with two.socket(a.addresses[family], socket.SOCK_DGRAM) as client:
            client.sendto(b"?", (a.addresses[family], 53))
        assert dropped(one, DropReason.POLICY_DENIED)
    finally:
        a.know()


@FAMILIES
def test_a_published_port_is_called_by_the_container_and_not_by_its_node(bed: Bed, family: int) -> None:
    a, one = bed.a, bed.one
    host = address_of(one, family)
    with one.entered():
        one.ports.publish(a.endpoint, [PortBinding("tcp", 80, ip_address(host), 8080, 8080)])
    try:
        with a.listener(a.addresses[family], 80) as listening:
            for caller in (bed.b, bed.other):
                one.events()
                with caller.socket(host, socket.SOCK_STREAM) as client:
                    client.connect((host, 8080))
                    server, seen = listening.accept()
                    with server:
                        assert seen[0] == caller.addresses[family]
                        client.sendall(b"there")
                        assert server.recv(10) == b"there"
                        server.sendall(b"and back")
                        assert client.recv(10) == b"and back"
                        one.datapath.bump_epoch()
                        bed.two.datapath.bump_epoch()
                        server.sendall(b"anew")
                        assert client.recv(10) == b"anew", "judged anew on its way back"
                assert caller.identity in {event.source_identity for event in one.events()}
            a.know({PolicyKey(Direction.INGRESS, bed.b.identity): PolicyEntry()})
            with bed.other.socket(host, socket.SOCK_STREAM) as client:
                client.setblocking(False)
                client.connect_ex((host, 8080))
                assert dropped(one, DropReason.POLICY_DENIED)
    finally:
        a.know()
        with one.entered():
            one.ports.revoke(a.endpoint)


@FAMILIES
def test_much_passes_whole(bed: Bed, family: int) -> None:
    """In segments larger than any packet, and in datagrams that are cut."""
    a, b = bed.a, bed.b
    address = b.addresses[family]
    client, server = connected(a, b, address)
    data = bytes(range(256)) * 40000
    with client, server:
        sender = threading.Thread(target=client.sendall, args=(data,))
        sender.start()
        got = bytearray()
        while len(got) < len(data):
            got += server.recv(1 << 20)
        sender.join()
        assert got == data
    with a.datagrams(a.addresses[family]) as client, b.datagrams(address, 53) as server:
        for size in (1452, 1472, 9000):
            assert echo(client, server, (address, 53), data[:size]) == data[:size]


@FAMILIES
def test_what_is_too_long_is_answered_or_cut(tunnelled: Bed, family: int) -> None:
    """A container whose network has a larger MTU than the tunnel learns the path's."""
    long = Container(tunnelled.one, Cast(7, 1000, mtu=1500))
    long.tell(tunnelled.two)
    try:
        long.wait_for(str(long.ipv6))
        address, version = tunnelled.b.addresses[family], 6 if family else 4
        head = 48 if family else 28
        level, discover, mtu = DONT_FRAGMENT[version]
        with long.datagrams(long.addresses[family]) as client, tunnelled.b.datagrams(address, 53) as server:
            client.connect((address, 53))
            client.setsockopt(level, discover, 2)
            client.send(bytes(1500 - head))
            with pytest.raises(OSError, match="Message too long"):
                while True:
                    client.send(bytes(1500 - head))
            assert client.getsockopt(level, mtu) == 1450
            client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # of one more answer
            client.send(bytes(1450 - head))
            assert len(server.recv(2000)) == 1450 - head
        if version == 4:
            with (
                long.datagrams(long.addresses[family]) as client,
                tunnelled.b.datagrams(address, 53) as server,
            ):
                client.setsockopt(level, discover, 0)
                assert echo(client, server, (address, 53), bytes(1472)) == bytes(1472)
        client, server = connected(long, tunnelled.b, address)
        with client, server:
            client.sendall(bytes(200000))
            left = 200000
            while left:
                left -= len(server.recv(1 << 20))
        host = address_of(tunnelled.two, family)
        with long.datagrams(long.addresses[family]) as client, tunnelled.two.datagrams(host, 54) as server:
            assert echo(client, server, (host, 54), bytes(1400)) == bytes(1400)
    finally:
        long.close()


def test_a_firewall_that_forwards_nothing_lets_other_nodes_containers_in(native: Bed) -> None:
    """And other machines as little as before, whatever route they have."""
    one, a = native.one, native.a
    native.stranger.ip(f"route add {a.ipv4}/32 via {one.address}")
    with one.entered():
        for command in ("iptables", "ip6tables"):
            subprocess.run([f"{command}-nft", "-w", "-P", "FORWARD", "DROP"], check=True)
        one.acceptance.set_active(True)
    try:
        stranger = native.stranger.datagrams("192.0.2.66")
        with stranger, a.datagrams(str(a.ipv4), 53) as server:
            stranger.sendto(b"?", (str(a.ipv4), 53))
            assert quiet(server)
        for address in a.addresses:
            for end in connected(native.b, a, address):
                end.close()
    finally:
        with one.entered():
            for command in ("iptables", "ip6tables"):
                subprocess.run([f"{command}-nft", "-w", "-P", "FORWARD", "ACCEPT"], check=True)
            one.acceptance.set_active(False)


def test_only_nodes_are_believed_on_the_way_between_them(native: Bed) -> None:
    """By address: who can forge that on this network is kept out by encryption only."""
    a, one = native.a, native.one
    for source in ("10.200.2.99", str(native.one.gateways[0]), str(a.ipv4)):
        packet = ipv4(source, str(a.ipv4), udp(1, 53))
        send(native.stranger.wire(), on_the_wire(packet, number=1))
    with native.other.datagrams(str(native.other.ipv4)) as client:
        client.sendto(b"?", (str(a.ipv4), 53))
        assert dropped(native.two, DropReason.NETWORKS_SEPARATE)
    send(native.two.wire(), on_the_wire(ipv4(str(native.other.ipv4), str(a.ipv4), udp(1, 53)), number=1))
    assert dropped(one, DropReason.NETWORKS_SEPARATE)
    assert dropped(one, DropReason.INVALID_SOURCE_IP)
