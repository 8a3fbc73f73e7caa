"""`ciliate policy check`: what a draft would change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import CannedAgent, Ciliate


def party(number: int, *labels: str) -> dict[str, Any]:
    return {"id": number, "labels": list(labels)}


WEB = party(256, "container:role=web", "network:id=n")
PREFIX = party(1 << 24, "cidr:192.0.2.0/24", "reserved:world", "reserved:world-ipv4")

ANSWER: dict[str, Any] = {
    "rules": {"before": 1, "after": 2},
    "enforcement": [
        {"endpoint": 3, "name": "db", "direction": "ingress", "enforced": True},
        {"endpoint": 4, "name": "", "direction": "egress", "enforced": False},
    ],
    "enforcement_total": 2,
    "changes": [
        {
            "change": "denied",
            "direction": "ingress",
            "services": "everything but 80/TCP",
            "subjects": [WEB],
            "subjects_total": 1,
            "peers": [party(1, "reserved:host"), PREFIX],
            "peers_total": 12,
        },
        {
            "change": "allowed",
            "direction": "egress",
            "services": "53/UDP",
            "subjects": [party(257, "network:id=n")],
            "subjects_total": 1,
            "peers": [party(9, "reserved:world", "reserved:world-ipv4")],
            "peers_total": 1,
        },
    ],
    "changes_total": 5,
    "pairs_denied": 12,
    "pairs_audited": 0,
    "pairs_allowed": 1,
    "warnings": [],
    "revision": 7,
}


@pytest.fixture
def draft(tmp_path: Path) -> str:
    path = tmp_path / "draft.yaml"
    path.write_text("endpointSelector: {}\ningress: [{}]\n")
    return str(path)


def test_what_changes(agent: CannedAgent, ciliate: Ciliate, draft: str) -> None:
    agent.on("POST", "/v1/policy/check", ANSWER)
    ran = ciliate("policy", "check", draft, "--replace-with-labels", "a=b", "--limit", "2")
    assert (ran.status, ran.err) == (0, "")
    assert (
        ran.out
        == """\
1 rule in force, 2 with the draft
12 pairs of identities would newly be denied something
1 pair of identities would newly be allowed something
db (endpoint 3): ingress denies by default from then on
endpoint 4: egress no longer denies by default

NEWLY    RULES OF            DIRECTION  ON                     FROM OR TO
DENIED   container:role=web  ingress    everything but 80/TCP  from host, 192.0.2.0/24 and 10 more
ALLOWED  identity 257        egress     53/UDP                 to world-ipv4
... 3 more changes, which --limit shows
"""
    )
    assert agent.requests == [
        (
            "POST",
            "/v1/policy/check",
            {"replace-with-labels": ["a=b"], "limit": ["2"]},
            [{"endpointSelector": {}, "ingress": [{}]}],
        )
    ]


def test_nothing_changes(agent: CannedAgent, ciliate: Ciliate, draft: str) -> None:
    nothing = {
        "enforcement": [], "enforcement_total": 0, "changes": [], "changes_total": 0,
        "pairs_denied": 0, "pairs_audited": 0, "pairs_allowed": 0,
    }  # fmt: skip
    agent.on("POST", "/v1/policy/check", ANSWER | nothing)
    assert ciliate("policy", "check", draft).out == (
        "1 rule in force, 2 with the draft\nnothing changes for the endpoints of this host\n"
    )


def test_what_an_audited_draft_would_tell(agent: CannedAgent, ciliate: Ciliate, draft: str) -> None:
    change = ANSWER["changes"][1] | {"change": "audited"}
    nothing = {"enforcement": [], "enforcement_total": 0, "pairs_denied": 0, "pairs_allowed": 0}
    told = {"changes": [change], "changes_total": 1, "pairs_audited": 1}
    agent.on("POST", "/v1/policy/check", ANSWER | nothing | told)
    ran = ciliate("policy", "check", draft, "--name", "web", "--audit")
    assert ran.out == (
        "1 rule in force, 2 with the draft\n"
        "between 1 pair of identities something passes that would newly be told as AUDIT\n"
        "\n"
        "NEWLY  RULES OF      DIRECTION  ON      FROM OR TO\n"
        "AUDIT  identity 257  egress     53/UDP  to world-ipv4\n"
    )
    assert agent.requests[-1][2] == {"name": ["web"], "audit": ["true"], "limit": ["100"]}
    assert ciliate("policy", "check", draft, "--audit").status == 2, "whose audit?"


def test_audit_mode_is_told_before_the_changes(agent: CannedAgent, ciliate: Ciliate, draft: str) -> None:
    warning = {"kind": "AUDIT", "text": "audit mode: what policy denies passes", "hint": "end it"}
    agent.on("POST", "/v1/policy/check", ANSWER | {"warnings": [warning]})
    out = ciliate("policy", "check", draft).out
    assert "\nAUDIT audit mode: what policy denies passes\n  hint: end it\n\nNEWLY" in out


def test_json(agent: CannedAgent, ciliate: Ciliate, draft: str) -> None:
    agent.on("POST", "/v1/policy/check", ANSWER)
    assert json.loads(ciliate("policy", "check", draft, "-o", "json").out) == ANSWER


def test_a_wrong_rule_is_named_by_its_file(agent: CannedAgent, ciliate: Ciliate, draft: str) -> None:
    agent.on("POST", "/v1/policy/check", {"error": "no", "path": "rules[0].ingress", "hint": ""}, 400)
    ran = ciliate("policy", "check", draft)
    assert (ran.status, ran.err) == (1, f"error: {draft}: ingress: no\n")
