"""Frames are those that the tests' own builder of packets makes."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from datapath.frames import Flow, ethernet
from tests.kernel import packets
from tests.kernel.packets import ACK, GATEWAY_MAC, ICMP, ICMP6, SCTP, SYN, TCP, UDP, Payload

MAC = "02:42:0a:c8:01:02"
ENDS = {4: ("10.200.1.2", "10.200.1.3"), 6: ("fd00::2", "fd00::3")}


def told(version: int, payload: Payload, *, back: bool = False) -> bytes:
    source, destination = reversed(ENDS[version]) if back else ENDS[version]
    return packets.ethernet(*packets.ip(source, destination, payload), source=MAC)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("protocol", "opening", "answer"),
    [
        (TCP, packets.tcp(1234, 80, SYN), packets.tcp(80, 1234, SYN | ACK)),
        (UDP, packets.udp(1234, 80), packets.udp(80, 1234)),
        (SCTP, packets.sctp(1234, 80), packets.sctp(80, 1234)),
    ],
)
def test_a_flow_and_its_answer(version: int, protocol: int, opening: Payload, answer: Payload) -> None:
    flow = Flow(*map(ip_address, ENDS[version]), protocol, 1234, 80)
    assert flow.has_answer
    assert ethernet(flow.opening(), MAC, GATEWAY_MAC) == told(version, opening)
    assert ethernet(flow.answer(), MAC, GATEWAY_MAC) == told(version, answer, back=True)


@pytest.mark.parametrize(("version", "protocol", "kind"), [(4, ICMP, 8), (6, ICMP6, 128)])
def test_an_echo(version: int, protocol: int, kind: int) -> None:
    flow = Flow(*map(ip_address, ENDS[version]), protocol, 77, kind)
    assert flow.has_answer
    v6 = version == 6
    assert ethernet(flow.opening(), MAC, GATEWAY_MAC) == told(version, packets.ping(77, v6=v6))
    assert ethernet(flow.answer(), MAC, GATEWAY_MAC) == told(version, packets.pong(77, v6=v6), back=True)


def test_another_icmp_question_has_no_answer_that_is_known_for_it() -> None:
    flow = Flow(*map(ip_address, ENDS[4]), ICMP, 77, 13)
    assert not flow.has_answer
    assert ethernet(flow.opening(), MAC, GATEWAY_MAC) == told(4, packets.icmp(13, id=77))
