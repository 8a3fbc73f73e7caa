"""A node to be verified: two containers on one network, one on another, a host and an uplink; and another node with two
containers, of which one is in a network of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any

from agent.verify_facts import Container, Facts, Other
from datapath.abi import EndpointFlag
from datapath.tables import NodeEntry, Routing
from model.identity import Reserved
from model.labels import Labels
from model.network import ELSEWHERE
from policy.resolve import Enforcement

UPLINK, TUNNEL = 2, 9


def container(number: int, identity: int, network: int, *addresses: str) -> Container:
    return Container(
        number,
        f"c{number}",
        number + 10,
        identity,
        network,
        EndpointFlag(0),
        "02:42:00:00:00:01",
        tuple(map(ip_address, addresses)),
    )


WEB = container(1, 256, 2, "10.200.1.2", "fd00::2")
DB = container(2, 257, 2, "10.200.1.3", "fd00::3")
APART = container(3, 257, 3, "10.200.2.2")

FACTS = Facts(
    rules=(),
    audited=(),
    modes={256: Enforcement.DEFAULT, 257: Enforcement.DEFAULT},
    labels={
        256: Labels.parse(["container:app=web"]),
        257: Labels.parse(["container:app=db"]),
        **{int(one): one.labels for one in Reserved if one is not Reserved.UNKNOWN},
    },
    containers=(WEB, DB, APART),
    others={
        ip_address("10.200.9.2"): Other(257, 2),
        ip_address("10.200.9.3"): Other(257, ELSEWHERE),
    },
    places={
        ip_network("192.0.2.9/32"): Reserved.REMOTE_NODE,
        ip_network("10.200.0.0/16"): Reserved.UNKNOWN,
        ip_network("10.200.1.1/32"): Reserved.HOST,
        ip_network("192.0.2.1/32"): Reserved.HOST,
        ip_network("172.17.0.0/16"): Reserved.UNMANAGED,
        ip_network("172.17.0.1/32"): Reserved.HOST,
    },
    uplinks=(UPLINK,),
    node=NodeEntry(Routing.TUNNEL, TUNNEL, 1450, IPv4Address("192.0.2.1"), 8472),
)


def with_rules(*rules: dict[str, Any], facts: Facts = FACTS, audited: Sequence[dict[str, Any]] = ()) -> Facts:
    return replace(facts, rules=tuple(map(json.dumps, rules)), audited=tuple(map(json.dumps, audited)))


def with_containers(containers: Sequence[Container]) -> Facts:
    return replace(FACTS, containers=tuple(containers))
