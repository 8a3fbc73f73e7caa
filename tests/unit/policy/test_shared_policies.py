"""Rules as users have them today: each means what its author meant, or is refused with the reason.

The files are data of another project and are read where they lie; they are no part of this one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from model.errors import CiliateError, InvalidInput, Unsupported
from model.flow import Direction
from model.identity import Reserved
from model.labels import Labels
from policy.decide import decide
from policy.mapstate import map_state
from policy.oracle import Verdict, verdict
from policy.repository import Repository
from policy.resolve import Enforcement, resolve
from policy.schema import load_rules
from policy.selections import Selections
from tests.conftest import require

FOLDER = Path(__file__).parents[3].parent / "shared" / "policies"

IN, OUT = Direction.INGRESS, Direction.EGRESS
TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
YES, NO = Verdict.ALLOWED, Verdict.DENIED

HOST, WORLD = Reserved.HOST.labels, Reserved.WORLD_IPV4.labels


def labelled(*texts: str) -> Labels:
    return Labels.parse([*(f"container:{text}" for text in texts), "network:id=n"])


def address(text: str) -> Labels:
    return Labels.parse([f"cidr:{text}", "reserved:world", "reserved:world-ipv4"])


pytestmark = pytest.mark.skipif(not FOLDER.parent.is_dir(), reason="a clone that stands alone")

OTHER = labelled("app=other")

Ask = tuple[Labels, Direction, Labels, int, int, Verdict]
"""Subject, direction, peer, protocol, port, verdict."""

WEB = labelled("id=web-server")
SERVICE = labelled("app=myService")
BACKEND, FRONTEND = labelled("role=backend"), labelled("role=frontend")
CRAWLER, VICTIM, RESTRICTED = labelled("role=crawler"), labelled("role=victim"), labelled("role=restricted")
PROD = labelled("env=prod")
PUBLIC, DEV, INIT = labelled("role=public"), labelled("env=dev"), Reserved.INIT.labels

MEANT: dict[str, list[Ask]] = {
    "getting-started_l3-l4-policy": [
        (WEB, IN, labelled("id=goodclient"), TCP, 8181, YES),
        (WEB, IN, labelled("id=goodclient"), TCP, 8182, NO),
        (WEB, IN, labelled("id=goodclient"), UDP, 8181, NO),
        (WEB, IN, labelled("id=badclient"), TCP, 8181, NO),
        (WEB, IN, HOST, TCP, 8181, NO),
        (WEB, OUT, OTHER, TCP, 1, YES),
        (OTHER, IN, WEB, TCP, 1, YES),
    ],
    "l3_cidr_cidr": [
        (SERVICE, OUT, address("20.1.1.1/32"), UDP, 53, YES),
        (SERVICE, OUT, address("20.1.1.2/32"), UDP, 53, NO),
        (SERVICE, OUT, address("10.1.0.0/16"), TCP, 80, YES),
        (SERVICE, OUT, address("10.96.0.1/32"), TCP, 80, NO),
        (SERVICE, OUT, OTHER, TCP, 80, NO),
        (SERVICE, IN, WORLD, TCP, 80, YES),
    ],
    "l3_egress-default-deny_egress-default-deny": [
        (RESTRICTED, OUT, OTHER, TCP, 80, NO),
        (RESTRICTED, OUT, WORLD, TCP, 80, NO),
        (RESTRICTED, OUT, HOST, ICMP, 8, NO),
        (RESTRICTED, IN, OTHER, TCP, 80, YES),
        (OTHER, OUT, WORLD, TCP, 80, YES),
    ],
    "l3_entities_host": [
        (DEV, OUT, HOST, TCP, 22, YES),
        (DEV, OUT, WORLD, TCP, 22, NO),
        (DEV, OUT, OTHER, TCP, 22, NO),
        (DEV, OUT, Reserved.REMOTE_NODE.labels, TCP, 22, NO),
    ],
    "l3_entities_world": [
        (PUBLIC, IN, WORLD, TCP, 443, YES),
        (PUBLIC, IN, Reserved.WORLD_IPV6.labels, TCP, 443, YES),
        (PUBLIC, IN, address("192.0.2.1/32"), TCP, 443, YES),
        (PUBLIC, IN, HOST, TCP, 443, NO),
        (PUBLIC, IN, OTHER, TCP, 443, NO),
    ],
    "l3_ingress-allow-all_ingress-allow-all": [
        (VICTIM, IN, OTHER, TCP, 80, YES),
        (VICTIM, IN, WORLD, ICMP, 8, YES),
        (VICTIM, IN, HOST, UDP, 53, YES),
    ],
    "l3_requires_requires": [
        (PROD, IN, PROD, TCP, 80, NO),
        (PROD, IN, HOST, TCP, 80, NO),
        (PROD, OUT, OTHER, TCP, 80, YES),
        (OTHER, IN, OTHER, TCP, 80, YES),
    ],
    "l3_simple_l3": [
        (BACKEND, IN, FRONTEND, TCP, 1, YES),
        (BACKEND, IN, FRONTEND, ICMP, 8, YES),
        (BACKEND, IN, BACKEND, TCP, 1, NO),
        (BACKEND, OUT, FRONTEND, TCP, 1, YES),
    ],
    "l4_cidr_l4_combined": [
        (CRAWLER, OUT, address("192.0.2.7/32"), TCP, 80, YES),
        (CRAWLER, OUT, address("192.0.2.7/32"), TCP, 443, NO),
        (CRAWLER, OUT, WORLD, TCP, 80, NO),
    ],
    "l4_icmp": [
        (SERVICE, OUT, OTHER, ICMP, 8, YES),
        (SERVICE, OUT, OTHER, ICMP, 0, NO),
        (SERVICE, OUT, WORLD, ICMPV6, 128, YES),
        (SERVICE, OUT, WORLD, ICMPV6, 8, NO),
        (SERVICE, OUT, OTHER, TCP, 8, NO),
    ],
    "l4_init": [
        (INIT, IN, HOST, TCP, 1, YES),
        (INIT, IN, OTHER, TCP, 1, NO),
        (INIT, OUT, OTHER, UDP, 53, YES),
        (INIT, OUT, WORLD, UDP, 53, YES),
        (INIT, OUT, OTHER, TCP, 53, NO),
        (OTHER, OUT, WORLD, TCP, 80, YES),
    ],
    "l4_l4_port_range": [
        (SERVICE, OUT, OTHER, TCP, 79, NO),
        (SERVICE, OUT, OTHER, TCP, 80, YES),
        (SERVICE, OUT, WORLD, TCP, 444, YES),
        (SERVICE, OUT, WORLD, TCP, 445, NO),
        (SERVICE, OUT, WORLD, UDP, 80, NO),
    ],
    "l4_multi_rule": [
        (BACKEND, IN, FRONTEND, UDP, 9, YES),
        (BACKEND, IN, OTHER, TCP, 80, YES),
        (BACKEND, IN, OTHER, TCP, 81, NO),
    ],
}

NOT_ENFORCED_YET = "not enforced yet"

REFUSED: dict[str, tuple[type[CiliateError], str, str]] = {
    "getting-started_l7-policy": (Unsupported, "rules[0].ingress[0].toPorts[0].rules", NOT_ENFORCED_YET),
    "l3_fqdn_fqdn": (Unsupported, "rules[0].egress[0].toPorts[0].rules", NOT_ENFORCED_YET),
    "l3_match-expressions_or-statement": (
        InvalidInput,
        "rules[0].ingress[0].fromEndpoints[0].matchExpressions[0].key",
        "there are no namespaces here: write network:id",
    ),
    "l4_l4_sni": (Unsupported, "rules[0].egress[0].toPorts[0].serverNames", NOT_ENFORCED_YET),
    "l7_dns_dns": (Unsupported, "rules[0].egress[0].toPorts[0].rules", NOT_ENFORCED_YET),
    "l7_http_http": (Unsupported, "rules[0].ingress[0].toPorts[0].rules", NOT_ENFORCED_YET),
    "l7_http_simple_l7": (Unsupported, "rules[0].ingress[1].toPorts[0].rules", NOT_ENFORCED_YET),
    "l7_kafka_kafka": (Unsupported, "rules[0].ingress[0].toPorts[0].rules", NOT_ENFORCED_YET),
}


def read(name: str) -> Any:
    require(FOLDER.is_dir(), f"{FOLDER} with users' rules")
    return json.loads((FOLDER / f"{name}.json").read_text())


def test_every_file_is_known() -> None:
    require(FOLDER.is_dir(), f"{FOLDER} with users' rules")
    assert {path.stem for path in FOLDER.glob("*.json")} == set(MEANT) | set(REFUSED)


@pytest.mark.parametrize("name", MEANT)
def test_a_file_means_what_its_author_meant(name: str) -> None:
    rules = load_rules(read(name))
    for subject, direction, peer, protocol, port, expected in MEANT[name]:
        said = verdict(rules, Enforcement.DEFAULT, subject, peer, direction, protocol, port)
        policy = resolve(Repository().add(rules), subject)
        entries = map_state(policy, Selections().with_identities({256: peer}).select)
        judged = decide(entries, 256, direction, protocol, port).allowed
        assert (said, judged) == (expected, expected is YES), (subject, direction, peer, protocol, port)


ABOUT_PODS_THERE = {"l3_ingress-allow-all_ingress-allow-all"}
"""Files with a `{}` that in a Kubernetes object means every pod, and not the world."""


@pytest.mark.parametrize("name", MEANT)
def test_a_file_means_the_same_as_a_kubernetes_object(name: str) -> None:
    rules = read(name)
    document = {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNetworkPolicy",
        "metadata": {"name": "n"},
        "specs": rules,
    }
    if name in ABOUT_PODS_THERE:
        with pytest.raises(InvalidInput, match="pods only"):
            load_rules(document)
        return
    assert load_rules(document) == load_rules([rule | {"labels": rule["labels"]} for rule in rules])


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_is_refused_with_the_reason(name: str) -> None:
    kind, path, reason = REFUSED[name]
    with pytest.raises(CiliateError) as caught:
        load_rules(read(name))
    assert type(caught.value) is kind
    assert caught.value.path == path
    assert reason in f"{caught.value.message} {caught.value.hint}"
