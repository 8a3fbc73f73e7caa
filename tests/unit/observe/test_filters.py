"""Each filter: what it lets through, what it does not, and what it says to nonsense."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

import pytest

from model.errors import InvalidInput
from model.flow import DropReason, EventType, Verdict
from observe.filters import PARAMETERS, compile_filter
from observe.flow import Flow

# The flow: client (10.200.0.3:40000, identity 1002) -> web (10.200.0.2:80, identity 1001), TCP, dropped on ingress.
CASES = [
    ("verdict", "dropped", "forwarded"),
    ("reason", "policy-denied", "invalid-source-ip"),
    ("type", "drop", "policy-verdict"),
    ("direction", "ingress", "EGRESS"),
    ("protocol", "tcp", "udp"),
    ("protocol", "6", "icmp"),
    ("endpoint", "7", "8"),
    ("reply", "false", "true"),
    ("chatter", "false", "true"),
    ("identity", "1001", "1003"),
    ("from-identity", "1002", "1001"),
    ("to-identity", "1001", "1002"),
    ("label", "app=web", "app=db"),
    ("label", "container:tier", "opt:tier"),
    ("label", "container:app=client", "container:app="),
    ("from-label", "app=client", "app=web"),
    ("to-label", "app=web", "app=client"),
    ("name", "web", "we"),
    ("name", "w*", "v*"),
    ("from-name", "client", "web"),
    ("to-name", "web", "client"),
    ("ip", "10.200.0.0/24", "10.200.1.0/24"),
    ("ip", "10.200.0.2", "fd00::2"),
    ("from-ip", "10.200.0.3", "10.200.0.2"),
    ("to-ip", "10.200.0.2/32", "10.200.0.3/32"),
    ("port", "80", "81"),
    ("from-port", "40000", "80"),
    ("to-port", "80", "40000"),
    ("peer", "web", "db"),
    ("from", "client", "web"),
    ("from", "1002", "1001"),
    ("from", "10.200.0.3", "10.200.0.2"),
    ("from", "app=client", "app=web"),
    ("to", "container:tier", "image:tier"),
    ("to", "10.200.0.0/28", "world"),
]


@pytest.mark.parametrize(("name", "fits", "does_not"), CASES)
def test_a_filter(flow: Callable[..., Flow], name: str, fits: str, does_not: str) -> None:
    assert compile_filter({name: [fits]})(flow())
    assert not compile_filter({name: [does_not]})(flow())
    assert compile_filter({name: [does_not, fits]})(flow()), "any of the values will do"


def test_every_filter_has_a_case() -> None:
    assert {name for name, _, _ in CASES} == PARAMETERS


def test_different_filters_must_all_hold(flow: Callable[..., Flow]) -> None:
    assert compile_filter({"verdict": ["dropped"], "to": ["web"]})(flow())
    assert not compile_filter({"verdict": ["dropped"], "to": ["client"]})(flow())
    assert compile_filter({})(flow())


def test_chatter_is_what_interfaces_say_on_their_own(flow: Callable[..., Flow]) -> None:
    chatter = flow(reason=DropReason.NEIGHBOUR_FORBIDDEN)
    assert compile_filter({"chatter": ["true"]})(chatter)
    assert not compile_filter({"chatter": ["false"]})(chatter)


def test_world_is_all_three_worlds(flow: Callable[..., Flow]) -> None:
    for identity in (2, 9, 10):
        assert compile_filter({"from": ["world"]})(flow(source_identity=identity))
    assert compile_filter({"from-identity": ["world-ipv4"]})(flow(source_identity=9))
    assert not compile_filter({"from-identity": ["world-ipv4"]})(flow(source_identity=10))


def test_icmp_is_both_families(flow: Callable[..., Flow]) -> None:
    wanted = compile_filter({"protocol": ["icmp"]})
    assert wanted(flow(protocol=1)) and wanted(flow(protocol=58)) and not wanted(flow(protocol=6))


def test_an_ipv6_network_holds_no_ipv4_address(flow: Callable[..., Flow]) -> None:
    wanted = compile_filter({"ip": ["::/0"]})
    assert not wanted(flow())
    assert wanted(flow(source=ip_address("fd00::1"), destination=ip_address("fd00::2")))


def test_forwarded_flows_can_be_asked_for(flow: Callable[..., Flow]) -> None:
    passed = flow(type=EventType.POLICY_VERDICT, verdict=Verdict.FORWARDED, reason=DropReason.NONE)
    assert compile_filter({"type": ["policy-verdict"], "verdict": ["FORWARDED"]})(passed)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("verdict", "maybe", "none of forwarded, dropped"),
        ("port", "http", "no number from 0 to 65535"),
        ("port", "70000", "no number from 0 to 65535"),
        ("ip", "10.0.0.256", "neither an address nor a network"),
        ("identity", "everybody", "no number from 0"),
        ("protocol", "tcpp", "no number from 0 to 255"),
        ("label", "=x", "is no label"),
        ("reply", "yes", "neither true nor false"),
    ],
)
def test_nonsense_is_refused_with_the_filters_name(name: str, text: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says) as refused:
        compile_filter({name: [text]})
    assert refused.value.path == name


def test_an_unknown_filter_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match="no such filter") as refused:
        compile_filter({"prot": ["tcp"]})
    assert "protocol" in refused.value.hint
