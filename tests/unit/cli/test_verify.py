"""`ciliate policy verify`: one line when all is well; who, where and what when it is not, and status 1."""

from __future__ import annotations

import json

from tests.unit.cli.conftest import CannedAgent, Ciliate

AGREES = {
    "endpoints": 500,
    "rules": 20,
    "pairs": 2000,
    "of": 512400,
    "packets": 23456,
    "complete": True,
    "seed": 7,
    "disagreements": [],
}

DIFFERS = {
    "source": {
        "endpoint": 3,
        "name": "client",
        "address": "10.200.1.2",
        "identity": 256,
        "labels": ["container:role=client"],
    },
    "destination": {
        "endpoint": 0,
        "name": "",
        "address": "198.51.100.1",
        "identity": 9,
        "labels": ["reserved:world"],
    },
    "protocol": "tcp",
    "port": 443,
    "published": False,
    "packet": "opening",
    "rules": "Policy denied (egress)",
    "twin": "Policy denied (egress)",
    "kernel": "Forwarded",
}


def test_all_agree(agent: CannedAgent, ciliate: Ciliate) -> None:
    agent.on("POST", "/v1/policy/verify", AGREES)
    ran = ciliate("policy", "verify", "--seed", "7")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out == (
        "23,456 packets between 2,000 of 512,400 pairs (500 endpoints, 20 rules): rules and kernel agree\n"
    )
    assert agent.requests[-1][2] == {"pairs": ["2000"], "seconds": ["20.0"], "seed": ["7"]}


def test_a_disagreement_is_named_and_is_a_failure(agent: CannedAgent, ciliate: Ciliate) -> None:
    agent.on("POST", "/v1/policy/verify", {**AGREES, "disagreements": [DIFFERS]})
    ran = ciliate("policy", "verify")
    assert ran.status == 1
    row = ran.out.splitlines()[1]
    for fact in (
        "client (10.200.1.2)",
        "198.51.100.1",
        "443/tcp",
        "opening",
        "Policy denied (egress)",
        "Forwarded",
        "container:role=client -> reserved:world",
    ):
        assert fact in row
    assert ran.out.endswith("1 disagreement\n")
    assert "seed 7" in ran.err


def test_json_fails_as_well(agent: CannedAgent, ciliate: Ciliate) -> None:
    answer = {**AGREES, "disagreements": [DIFFERS]}
    agent.on("POST", "/v1/policy/verify", answer)
    ran = ciliate("policy", "verify", "-o", "json")
    assert (ran.status, json.loads(ran.out)) == (1, answer)


def test_what_was_left_out_is_said(agent: CannedAgent, ciliate: Ciliate) -> None:
    agent.on("POST", "/v1/policy/verify", {**AGREES, "complete": False})
    ran = ciliate("policy", "verify", "--all")
    assert ran.status == 0
    assert "--seconds" in ran.err
    assert agent.requests[-1][2] == {"pairs": ["0"], "seconds": ["3600.0"]}
