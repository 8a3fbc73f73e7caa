"""Names of containers on other nodes are answered where the question leaves the container."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

import pytest
from dnslib import CLASS, EDNS0, QTYPE, RCODE, DNSHeader, DNSQuestion, DNSRecord, EDNSOption
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datapath.names import fits
from datapath.tables import NameKey
from model.network import LOCAL_FIRST_NUMBER
from tests.kernel.harness import WORLD4, WORLD6, A, Action, Node, Outcome
from tests.kernel.packets import IPV6, checksum6, ipv4, udp

SPANNING = replace(A, network=7)
WEB = (ip_address("10.200.9.1"), ip_address("10.200.9.2"), ip_address("fd00:9::1"))


@pytest.fixture
def named(node: Node) -> Iterator[Node]:
    node.add(SPANNING)
    node.datapath.names.put_many(
        {
            NameKey(7, "web"): WEB,
            NameKey(7, "db-1.shop_x"): (ip_address("10.200.9.3"),),
            NameKey(8, "other"): WEB,
        }
    )
    yield node
    node.datapath.names.delete_many([key for key, _ in node.datapath.names.items()])


def question(name: str, kind: str = "A", **header: int) -> DNSRecord:
    asked = DNSQuestion(name, getattr(QTYPE, kind), CLASS.IN)
    return DNSRecord(DNSHeader(id=77, rd=1, **header), q=asked)


def ask(node: Node, message: bytes, *, to: str = WORLD4, port: int = 53) -> Outcome:
    return node.send(SPANNING, to, udp(5353, port, message))


def answer(outcome: Outcome) -> DNSRecord:
    """What a resolver reads of the packet that came back."""
    assert outcome.action is Action.REDIRECT
    packet = outcome.data[14:]
    header = 40 if outcome.data[12:14] == struct.pack("!H", IPV6) else 20
    source, destination, size = struct.unpack("!HHH", packet[header : header + 6])
    assert (source, destination, size) == (53, 5353, len(packet) - header)
    return DNSRecord.parse(packet[header + 8 :])


def addresses(outcome: Outcome) -> set[str]:
    found = answer(outcome)
    assert (found.header.id, found.header.qr, found.header.ra, found.header.rcode) == (
        77,
        1,
        1,
        RCODE.NOERROR,
    )
    return {str(record.rdata) for record in found.rr}


def test_a_name_has_the_addresses_of_its_containers_one_at_a_time(named: Node) -> None:
    seen = [addresses(ask(named, question("web").pack())) for _ in range(40)]
    assert all(len(each) == 1 for each in seen)
    assert set.union(*seen) == {"10.200.9.1", "10.200.9.2"}
    assert addresses(ask(named, question("web", "AAAA").pack())) == {"fd00:9::1"}


def test_an_answer_names_what_was_asked_and_lasts_for_seconds(named: Node) -> None:
    found = answer(ask(named, question("WeB").pack()))
    assert str(found.q.qname) == "WeB." and str(found.rr[0].rname) == "WeB."
    assert found.rr[0].ttl == 5


@pytest.mark.parametrize(("name", "kind"), [("db-1.shop_x", "AAAA"), ("web", "MX"), ("web", "HTTPS")])
def test_a_name_without_such_a_record_exists_all_the_same(named: Node, name: str, kind: str) -> None:
    """Were the question to go on, the world's "no such name" would be believed of the address too."""
    assert addresses(ask(named, question(name, kind).pack())) == set()


def test_checksums_are_right(named: Node) -> None:
    for kind in ("A", "AAAA", "MX"):
        packet = ask(named, question("web", kind).pack(), to=WORLD6).data[14:]
        assert checksum6(packet) == 0
        packet = ask(named, question("web", kind).pack()).data[14:]
        head = sum(struct.unpack("!10H", packet[:20]))
        assert (head & 0xFFFF) + (head >> 16) == 0xFFFF
        pseudo = packet[12:20] + struct.pack("!HH", 17, len(packet) - 20)
        data = pseudo + packet[20:] + bytes(len(packet) % 2)
        total = sum(struct.unpack(f"!{len(data) // 2}H", data))
        assert ((total & 0xFFFF) + (total >> 16)) % 0xFFFF == 0


def test_edns_is_understood_and_not_spoken(named: Node) -> None:
    cookie = EDNSOption(10, bytes(8))
    for options in ([], [cookie]):
        asked = question("web")
        asked.add_ar(EDNS0(udp_len=1232, opts=options))
        found = answer(ask(named, asked.pack()))
        assert len(found.rr) == 1 and not found.ar


GOES_ON = {
    "another name": question("example.com").pack(),
    "a name that begins alike": question("web.example").pack(),
    "a name of another network": question("other").pack(),
    "the root": question(".").pack(),
    "a long name": question("a" * 63 + ".b").pack(),
    "an update": question("web", opcode=5).pack(),
    "an answer": question("web", qr=1).pack(),
    "another class": DNSRecord(q=DNSQuestion("web", QTYPE.A, CLASS.CH)).pack(),
    "two questions": DNSRecord(questions=[DNSQuestion("web"), DNSQuestion("web")]).pack(),
    "cut off": question("web").pack()[:-1],
    "nothing": b"",
}


@pytest.mark.parametrize("message", GOES_ON.values(), ids=GOES_ON.keys())
def test_what_is_no_question_for_us_goes_on_untouched(named: Node, message: bytes) -> None:
    frame = named.frame(SPANNING, WORLD4, udp(5353, 53, message))
    outcome = named.send_frame(SPANNING, frame)
    assert (outcome.action, outcome.data) == (Action.STACK, frame)


def test_only_dns_of_networks_that_span_nodes_is_read(named: Node) -> None:
    message = question("web").pack()
    assert ask(named, message, port=5353).action is Action.STACK
    for network in (1, LOCAL_FIRST_NUMBER, LOCAL_FIRST_NUMBER + 7):
        local = named.change(A, network=network)
        named.datapath.names.put(NameKey(network, "web"), WEB)
        assert named.send(local, WORLD4, udp(5353, 53, message)).action is Action.STACK


def test_a_question_with_ip_options_goes_on(named: Node) -> None:
    packet = ipv4(SPANNING.ipv4, WORLD4, udp(5353, 53, question("web").pack()), options=bytes(4))
    frame = named.frame(SPANNING, WORLD4, udp(1, 2))[:14] + packet
    assert named.send_frame(SPANNING, frame).action is Action.STACK


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(message=st.binary(max_size=200), cut=st.integers(0, 120))
def test_no_message_does_harm(named: Node, message: bytes, cut: int) -> None:
    """Nor does a true question that is cut, or followed by anything."""
    for data in (message, question("web").pack()[:cut] + message):
        outcome = named.send(SPANNING, WORLD4, udp(5353, 53, data))
        assert outcome.passed


def test_names_that_fit() -> None:
    assert fits("web") and fits("a" * 62) and fits("db_1.shop-x")
    assert not fits("a" * 63) and not fits("") and not fits("a..b") and not fits("Web") and not fits("ü")
