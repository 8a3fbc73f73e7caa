"""What rules seem to deny, and do not."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from agent.unreached import unreached
from policy.schema import load_rules

BRIDGE, LAN = ip_network("172.17.0.0/16"), ip_network("192.168.5.0/24")
UNMANAGED = {BRIDGE, LAN, ip_network("fd00:9::/64")}


def warnings(**lists: Any) -> list[Any]:
    return unreached(load_rules([{"endpointSelector": {}, **lists}]), UNMANAGED)


@pytest.mark.parametrize(
    ("element", "missed"),
    [
        ({"toCIDR": ["172.16.0.0/12"]}, "172.17.0.0/16"),
        ({"toCIDR": ["172.17.0.2"]}, "172.17.0.0/16"),
        ({"toCIDR": ["0.0.0.0/0"]}, "172.17.0.0/16, 192.168.5.0/24"),
        ({"toCIDRSet": [{"cidr": "0.0.0.0/0", "except": ["172.16.0.0/12"]}]}, "192.168.5.0/24"),
        ({"toCIDRSet": [{"cidr": "172.16.0.0/12", "except": ["172.17.4.0/24"]}]}, "172.17.0.0/16"),
        ({"toCIDR": ["::/0"]}, "fd00:9::/64"),
    ],
)
def test_a_denied_prefix_does_not_reach_what_is_on_another_bridge(
    element: dict[str, Any], missed: str
) -> None:
    (warning,) = warnings(egressDeny=[element])
    assert f"is not denied to {missed}: that is behind another bridge" in warning["text"]
    assert warning["hint"] == "if it is meant too, add {toEntities: [unmanaged]} to egressDeny"


def test_there_is_one_warning_for_each_direction() -> None:
    both = warnings(
        ingressDeny=[{"fromCIDR": ["172.17.0.0/16"]}, {"fromCIDR": ["172.17.1.0/24", "192.168.5.1"]}],
        egressDeny=[{"toCIDR": ["192.168.0.0/16"]}],
    )
    assert [each["text"].partition(":")[0] for each in both] == [
        "what is denied to 192.168.0.0/16 is not denied to 192.168.5.0/24",
        "what is denied from 172.17.0.0/16, 172.17.1.0/24, 192.168.5.1/32 is not denied from "
        "172.17.0.0/16, 192.168.5.0/24",
    ]


@pytest.mark.parametrize(
    "lists",
    [
        {"egressDeny": [{"toCIDR": ["198.51.100.0/24"]}]},
        {"egressDeny": [{"toEntities": ["world"]}]},
        {"egress": [{"toCIDR": ["172.17.0.0/16"]}]},
        {"egressDeny": [{"toCIDR": ["172.16.0.0/12"]}, {"toEntities": ["unmanaged"]}]},
        {"egressDeny": [{"toCIDRSet": [{"cidr": "172.16.0.0/12", "except": ["172.17.0.0/16"]}]}]},
        {"egressDeny": [{"toPorts": [{"ports": [{"port": "25"}]}]}]},
    ],
)
def test_nothing_is_said_where_nothing_is_missed(lists: dict[str, Any]) -> None:
    assert warnings(**lists) == []
