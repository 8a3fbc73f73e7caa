"""Containers of two hosts talk as if they were on one, and each is known to the other by its identity."""

from __future__ import annotations

from tests.kernel.network import connected, echo
from tests.kernel.overlay.bed import Bed


def test_tcp_and_udp_pass_both_ways(tunnelled: Bed) -> None:
    a, b = tunnelled.a, tunnelled.b
    for near, far in ((a, b), (b, a)):
        for source, address in zip(near.addresses, far.addresses, strict=True):
            client, server = connected(near, far, address)
            with client, server:
                assert server.getpeername()[0] == source
                client.sendall(b"over there")
                assert server.recv(100) == b"over there"
            with near.datagrams(source) as client, far.datagrams(address, 53) as server:
                assert echo(client, server, (address, 53), b"?") == b"?"
