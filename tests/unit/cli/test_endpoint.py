"""`ciliate endpoint` as a user sees it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tests.unit.cli.conftest import CannedAgent, Ciliate

WEB: dict[str, Any] = {
    "id": 7,
    "docker_id": "d1" * 32,
    "container_id": "c1" * 32,
    "container_name": "web",
    "network_id": "a1" * 32,
    "network_name": "shop",
    "ipv4": "10.200.0.2",
    "ipv6": "fd00:c111::2",
    "mac": "02:42:0a:c8:00:02",
    "ifname": "cil0a1b2c3",
    "ifindex": 12,
    "labels": ["container:app=web", "network:id=a1a1"],
    "info_labels": ["image:maintainer=somebody"],
    "tags": [],
    "identity": 1001,
    "state": "ready",
    "enforcement": {"ingress": True, "egress": False, "audit": False},
    "ports": [
        {"protocol": "tcp", "host_ip": "0.0.0.0", "host_port": 8080, "port": 80},
        {"protocol": "tcp", "host_ip": "::", "host_port": 8080, "port": 80},
    ],
}
NEW = {
    **WEB,
    "id": 8,
    "container_name": "",
    "container_id": "",
    "ipv4": "10.200.0.3",
    "ipv6": "",
    "identity": 5,
    "state": "waiting-for-labels",
    "enforcement": {"ingress": True, "egress": True, "audit": False},
    "labels": ["reserved:init"],
    "ports": [],
}


@pytest.fixture(autouse=True)
def _endpoints(agent: CannedAgent) -> None:
    agent.on("GET", "/v1/endpoint", [WEB, NEW])
    agent.on("GET", "/v1/endpoint/7", WEB)


def test_the_list(ciliate: Ciliate) -> None:
    assert ciliate("endpoint", "list").out == (
        "ID  CONTAINER  NETWORK  IPV4        IPV6          IDENTITY  STATE               ENFORCED  LABELS\n"
        "7   web        shop     10.200.0.2  fd00:c111::2  1001      ready               ingress"
        "   container:app=web network:id=a1a1\n"
        "8   -          shop     10.200.0.3  -             init      waiting-for-labels  both      reserved:init\n"
    )


def test_the_list_as_json_and_yaml(ciliate: Ciliate) -> None:
    assert json.loads(ciliate("endpoint", "list", "-o", "json").out) == [WEB, NEW]
    assert yaml.safe_load(ciliate("endpoint", "list", "-o", "yaml").out) == [WEB, NEW]


def test_an_empty_list_says_why_on_stderr(agent: CannedAgent, ciliate: Ciliate) -> None:
    agent.on("GET", "/v1/endpoint", [])
    ran = ciliate("endpoint", "list")
    assert (ran.status, ran.out) == (0, "")
    assert ran.err == "no endpoints: no container runs on a ciliate network\n"


def test_one_endpoint_in_full(ciliate: Ciliate) -> None:
    assert ciliate("endpoint", "get", "7").out == (
        "Endpoint     7\n"
        "State        ready\n"
        "Container    web (c1c1c1c1c1c1)\n"
        "Network      shop (a1a1a1a1a1a1)\n"
        "Addresses    10.200.0.2\n"
        "             fd00:c111::2\n"
        "MAC          02:42:0a:c8:00:02\n"
        "Interface    cil0a1b2c3 (index 12)\n"
        "Identity     1001\n"
        "Enforced     ingress\n"
        "Labels       container:app=web\n"
        "             network:id=a1a1\n"
        "Shown only   image:maintainer=somebody\n"
        "Tags         -\n"
        "Published    0.0.0.0:8080 -> 80/tcp\n"
        "             [::]:8080 -> 80/tcp\n"
        f"Docker's id  {WEB['docker_id']}\n"
    )


def test_an_endpoint_that_does_not_exist(agent: CannedAgent, ciliate: Ciliate) -> None:
    agent.on(
        "GET",
        "/v1/endpoint/ipv4:10.0.0.9",
        {"error": "no endpoint 'ipv4:10.0.0.9'", "path": "", "hint": "see `ciliate endpoint list`"},
        404,
    )
    ran = ciliate("endpoint", "get", "ipv4:10.0.0.9")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err == "error: no endpoint 'ipv4:10.0.0.9'\nhint: see `ciliate endpoint list`\n"


LABELS = {"labels": ["container:app=web"], "info_labels": [], "user_labels": None, "identity": 1001}


def test_labels_are_shown(agent: CannedAgent, ciliate: Ciliate) -> None:
    agent.on("GET", "/v1/endpoint/7/labels", LABELS)
    assert ciliate("endpoint", "labels", "7").out == (
        "Identity     1001\nLabels       container:app=web\nShown only   -\nSet by hand  no\n"
    )


def test_labels_are_replaced_and_reset(agent: CannedAgent, ciliate: Ciliate) -> None:
    agent.on("PATCH", "/v1/endpoint/7/labels", {**LABELS, "user_labels": ["app=db"], "identity": 1002})
    assert ciliate("endpoint", "labels", "7", "--set", "app=db", "--set", "tier=back").status == 0
    assert agent.requests[-1][3] == {"labels": ["app=db", "tier=back"]}
    ciliate("endpoint", "labels", "7", "--reset")
    assert agent.requests[-1][3] == {"labels": None}


def test_set_and_reset_exclude_each_other(ciliate: Ciliate) -> None:
    ran = ciliate("endpoint", "labels", "7", "--set", "a=b", "--reset")
    assert ran.status == 2
    assert ran.err == (
        "error: --set and --reset exclude each other\nhint: see `ciliate endpoint labels --help`\n"
    )


@pytest.mark.parametrize(("state", "status"), [("ok", 0), ("degraded", 1)])
def test_health(agent: CannedAgent, ciliate: Ciliate, state: str, status: int) -> None:
    agent.on("GET", "/v1/endpoint/7/healthz", {"status": state, "problems": ["no program"] if status else []})
    ran = ciliate("endpoint", "health", "7")
    assert ran.status == status
    assert ran.out == f"Status    {state}\nProblems  {'no program' if status else '-'}\n"


def test_the_log(agent: CannedAgent, ciliate: Ciliate) -> None:
    agent.on("GET", "/v1/endpoint/7/log", [{"time": "2026-01-31T12:00:00Z", "text": "identity 1001"}])
    assert ciliate("endpoint", "log", "7").out == (
        "TIME                  WHAT\n2026-01-31T12:00:00Z  identity 1001\n"
    )


def test_labels_cannot_steer_the_terminal(agent: CannedAgent, ciliate: Ciliate) -> None:
    agent.on("GET", "/v1/endpoint", [{**WEB, "labels": ["container:x=\x1b[2Jgone\n"]}])
    assert r"container:x=\x1b[2Jgone\n" in ciliate("endpoint", "list").out


def test_audit_mode(agent: CannedAgent, ciliate: Ciliate) -> None:
    agent.on("GET", "/v1/endpoint/7/config", {"audit": False, "audit_in_force": True})
    assert ciliate("endpoint", "config", "7").out == "Audit  yes, as all endpoints are\n"
    agent.on("PATCH", "/v1/endpoint/7/config", {"audit": True, "audit_in_force": True})
    assert ciliate("endpoint", "config", "7", "--audit").out == "Audit  yes\n"
    assert agent.requests[-1][3] == {"audit": True}
    ciliate("endpoint", "config", "7", "--no-audit")
    assert agent.requests[-1][3] == {"audit": False}
    audited = {**WEB, "enforcement": {"ingress": True, "egress": True, "audit": True}}
    agent.on("GET", "/v1/endpoint", [audited])
    assert "both, audit" in ciliate("endpoint", "list").out
