"""What comes out of the tunnel is believed only of what is known to be behind the node that sent it; and nobody but the
tunnel can send as a node."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterable
from ipaddress import IPv4Address

import pytest

from model.flow import DropReason
from tests.kernel.network import PATIENCE, Place, quiet
from tests.kernel.overlay.bed import STRANGER, Bed, Cast, Container, Host
from tests.kernel.overlay.forgery import carried, inner, outer, send
from tests.kernel.packets import SYN, Payload, icmp, tcp, udp

NOBODY = 65534
IP_TRANSPARENT = 19
QUESTION = udp(1, 53)


def dropped(host: Host, reason: DropReason) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not host.counted(reason):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def forge(
    bed: Bed,
    source: str,
    vni: int,
    *,
    to: str = "",
    payload: Payload = QUESTION,
    sender: IPv4Address | str = "",
    place: Place | None = None,
) -> None:
    """To host one, on the wire, as host two unless it says otherwise."""
    frame = inner(source, to or str(bed.a.ipv6 if ":" in source else bed.a.ipv4), payload)
    packet = outer(sender or bed.two.address, bed.one.address, carried(bed.mode, vni, frame), number=1)
    bed.one.counted(DropReason.NONE)
    send((place or bed.two).wire(), packet)


def test_what_is_true_passes(tunnelled: Bed) -> None:
    """The same forger tells the truth: so it is the lie that the others are dropped for."""
    for address in tunnelled.b.addresses:
        with tunnelled.a.datagrams(tunnelled.a.addresses[":" in address], 53) as server:
            forge(tunnelled, address, tunnelled.b.identity, payload=udp(1, 53, b"true"))
            assert server.recv(100) == b"true"


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_a_lie_about_who_it_is(tunnelled: Bed, family: int) -> None:
    b, one = tunnelled.b, tunnelled.one
    for vni in (tunnelled.a.identity, tunnelled.other.identity, 0, 1, 2, 3, 5, 6, 0xFFFFFF):
        forge(tunnelled, b.addresses[family], vni)
        assert dropped(one, DropReason.FORGED_IDENTITY), vni
    node = str(tunnelled.two.address6 if family else tunnelled.two.address)
    for vni in (b.identity, 0, 1, 5):
        forge(tunnelled, node, vni)
        assert dropped(one, DropReason.FORGED_IDENTITY), vni


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_a_lie_about_where_it_comes_from(tunnelled: Bed, family: int) -> None:
    one, own = tunnelled.one, tunnelled.one.address6 if family else tunnelled.one.address
    nobody = "fd00:c111:2::99" if family else "10.200.2.99"
    world = "2001:db8:f::1" if family else "198.51.100.7"
    for source in (tunnelled.a.addresses[family], str(own), nobody, world):
        for vni in (tunnelled.a.identity, 0, 2, 6):
            forge(tunnelled, source, vni)
            assert dropped(one, DropReason.NOT_BEHIND_NODE), (source, vni)


def test_a_sender_that_is_no_node(tunnelled: Bed) -> None:
    b = tunnelled.b
    for address in b.addresses:
        forge(tunnelled, address, b.identity, sender=STRANGER, place=tunnelled.stranger)
        assert dropped(tunnelled.one, DropReason.NOT_FROM_NODE)


def test_a_sender_over_ipv6(tunnelled: Bed) -> None:
    """The device takes packets of either family; nodes send by IPv4."""
    b, one, stranger = tunnelled.b, tunnelled.one, tunnelled.stranger
    stranger.wait_for("2001:db8::42")
    frame = inner(str(b.ipv4), str(tunnelled.a.ipv4), QUESTION)
    with stranger.datagrams("2001:db8::42") as client:
        client.sendto(
            carried(tunnelled.mode, b.identity, frame)[1][8:], (str(one.address6), tunnelled.mode.port)
        )
    assert dropped(one, DropReason.NOT_FROM_NODE)


def test_a_sender_that_seems_to_be_this_node(tunnelled: Bed) -> None:
    """The programs drop it, too, where neither the kernel nor netfilter does."""
    one = tunnelled.one
    paths = ("ipv4/conf/eth0/accept_local", "ipv4/conf/all/accept_local")
    for path in paths:
        one.set(path, "1")
    with one.entered():
        subprocess.run(["nft", "delete", "table", "inet", "ciliate"], check=True)
    try:
        tunnelled.b.tell(one, tunnel=one.address)
        forge(tunnelled, str(tunnelled.b.ipv4), tunnelled.b.identity, sender=one.address)
        assert dropped(one, DropReason.NOT_FROM_NODE)
    finally:
        tunnelled.b.tell(one)
        for path in paths:
            one.set(path, "0")
        with one.entered():
            assert one.nft.check()


def test_another_node_never_reaches_further_than_here(tunnelled: Bed) -> None:
    """To containers and to the host; a router it is to nobody."""
    b = tunnelled.b
    for to in (STRANGER, str(tunnelled.other.ipv4), "10.200.1.99", "255.255.255.255"):
        forge(tunnelled, str(b.ipv4), b.identity, to=to)
    assert dropped(tunnelled.one, DropReason.MULTICAST)
    deadline = time.monotonic() + PATIENCE
    count = 0
    while count < 3 and time.monotonic() < deadline:
        count += tunnelled.one.counted(DropReason.UNKNOWN_DESTINATION)
    assert count == 3


def test_a_network_of_its_own_stays_that_on_other_hosts(tunnelled: Bed) -> None:
    a, other = tunnelled.a, tunnelled.other
    for source, to in zip(other.addresses, a.addresses, strict=True):
        with other.socket(to, socket.SOCK_DGRAM) as client:
            client.sendto(b"?", (to, 53))
        assert dropped(tunnelled.two, DropReason.NETWORKS_SEPARATE), "where it is sent"
        forge(tunnelled, source, other.identity)
        assert dropped(tunnelled.one, DropReason.NETWORKS_SEPARATE), "and where it arrives"


def test_messages_for_one_link_stay_on_it(tunnelled: Bed) -> None:
    b = tunnelled.b
    for source, to, kind in (
        (str(b.ipv4), str(tunnelled.one.address), icmp(5)),
        (str(b.ipv6), str(tunnelled.one.address6), icmp(134, v6=True)),
    ):
        forge(tunnelled, source, b.identity, to=to, payload=kind)
        assert dropped(tunnelled.one, DropReason.NEIGHBOUR_FORBIDDEN)


def test_who_has_no_labels_yet_stays_at_home(tunnelled: Bed) -> None:
    host = tunnelled.two
    init = Container(host, Cast(9, 5))
    try:
        init.wait_for(str(init.ipv6))
        for to in tunnelled.a.addresses:
            with init.socket(to, socket.SOCK_DGRAM) as client:
                client.sendto(b"?", (to, 53))
            assert dropped(host, DropReason.INIT_STAYS)
    finally:
        init.close()


def test_a_container_cannot_play_the_tunnel(tunnelled: Bed) -> None:
    b, a = tunnelled.b, tunnelled.a
    frame = inner(str(a.ipv4), str(b.ipv4), tcp(1, 80, SYN))
    payload = carried(tunnelled.mode, a.identity, frame)[1][8:]
    for to in (*addresses(tunnelled), *tunnelled.two.gateways):
        with b.socket(to, socket.SOCK_DGRAM) as client:
            client.sendto(payload, (to, tunnelled.mode.port))
        assert dropped(tunnelled.two, DropReason.ENCAP_PROHIBITED), to


def addresses(bed: Bed) -> list[str]:
    """Of both hosts."""
    return [str(address) for host in (bed.one, bed.two) for address in (host.address, host.address6)]


def test_a_process_without_privileges_cannot_play_the_tunnel(tunnelled: Bed) -> None:
    """Neither to this host, be it over loopback, nor to another one."""
    one, two, b = tunnelled.one, tunnelled.two, tunnelled.b
    frame = inner(str(b.ipv4), str(tunnelled.a.ipv4), udp(1, 53))
    payload = carried(tunnelled.mode, b.identity, frame)[1][8:]
    port = tunnelled.mode.port
    reasons = (DropReason.NOT_FROM_NODE, DropReason.NOT_BEHIND_NODE, DropReason.FORGED_IDENTITY)

    def seen() -> list[int]:
        """Of what came out of a tunnel."""
        return [host.counted(reason) for host in (one, two) for reason in reasons]

    seen()
    targets = ["127.0.0.1", "::1", "::ffff:127.0.0.1", *addresses(tunnelled)]
    arguments = ["python3", "-c", SENDER, str(port), payload.hex(), *targets]
    with tunnelled.a.datagrams(str(tunnelled.a.ipv4), 53) as server:
        for host in (one, two):
            with host.entered():
                sent = subprocess.run(arguments, user=NOBODY, check=True, capture_output=True, text=True)
            assert sent.stdout.split() == targets
        assert quiet(server)
    assert not any(seen())


SENDER = """
import socket, sys
port, payload, *targets = sys.argv[1:]
for to in targets:
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    try:
        socket.socket(family, socket.SOCK_DGRAM).sendto(bytes.fromhex(payload), (to, int(port)))
    except PermissionError:
        print(to)
"""
"""Prints whom it may not send to."""


def test_nor_can_a_container_of_another_bridge(tunnelled: Bed) -> None:
    """What the host forwards for it, and gives its own address, is not the host's tunnel; and what it sends as if it
    were another node, comes in where no node can be."""
    one, two, a, b = tunnelled.one, tunnelled.two, tunnelled.a, tunnelled.b
    guest = Place()
    one.ip(
        f"link add dock0 type veth peer name eth0 netns /proc/{os.getpid()}/fd/{guest.fd}",
        "addr add 172.17.0.1/16 dev dock0",
        "link set dock0 up",
    )
    one.set("ipv4/conf/dock0/rp_filter", "0")
    guest.ip(
        "link set eth0 up",
        "addr add 172.17.0.2/16 dev eth0",
        "route add default via 172.17.0.1",
    )
    with one.entered():
        subprocess.run(["nft", "-f", "-"], input=MASQUERADE, text=True, check=True)
    lies = (
        ("172.17.0.2", two.address, a.identity, inner(str(a.ipv4), str(b.ipv4), QUESTION)),
        (str(two.address), one.address, b.identity, inner(str(b.ipv4), str(a.ipv4), QUESTION)),
    )

    def tell(lies: Iterable[tuple[str, IPv4Address, int, bytes]]) -> None:
        for source, to, vni, frame in lies:
            with guest.socket(source, socket.SOCK_DGRAM) as client:
                client.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
                client.bind((source, 0))
                client.sendto(carried(tunnelled.mode, vni, frame)[1][8:], (str(to), tunnelled.mode.port))

    try:
        with b.datagrams(str(b.ipv4), 53) as near, a.datagrams(str(a.ipv4), 53) as far:
            tell(lies)
            assert quiet(near) and quiet(far)
            with one.entered():
                subprocess.run(["nft", "delete", "table", "inet", "ciliate"], check=True)
            tell(lies)
            assert near.recv(1) == far.recv(1) == b"", "without the rules it could"
    finally:
        with one.entered():
            subprocess.run(["nft", "delete", "table", "ip", "dock"], check=True)
            assert one.nft.check()
        one.ip("link del dock0")
        guest.close()


MASQUERADE = """
table ip dock {
  chain postrouting { type nat hook postrouting priority srcnat; ip saddr 172.17.0.0/16 masquerade
  }
}
"""
