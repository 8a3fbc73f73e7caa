"""`ciliate policy`: rules go in and come out, all or none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import CannedAgent, Ciliate

RULE: dict[str, Any] = {
    "endpointSelector": {"matchLabels": {"app": "web"}},
    "labels": [{"source": "opt", "key": "name", "value": "web"}],
    "ingress": [
        {
            "fromEndpoints": [{"matchLabels": {"app": "client"}}],
            "toPorts": [{"ports": [{"port": "80", "protocol": "TCP"}]}],
        }
    ],
    "egress": [{}],
}


@pytest.fixture
def web(tmp_path: Path) -> str:
    path = tmp_path / "web.json"
    path.write_text(json.dumps([RULE]))
    return str(path)


def test_import(agent: CannedAgent, ciliate: Ciliate, web: str) -> None:
    agent.on("PUT", "/v1/policy", {"policy": [RULE], "revision": 4})
    ran = ciliate("policy", "import", web, "--replace-with-labels", "name=web", "--wait", "5")
    assert (ran.status, ran.out, ran.err) == (0, "1 rule imported, revision 4\n", "")
    assert agent.requests == [
        ("PUT", "/v1/policy", {"replace-with-labels": ["name=web"], "wait": ["5.0"]}, [RULE])
    ]


def test_what_a_rule_does_not_reach_is_told_beside_the_answer(
    agent: CannedAgent, ciliate: Ciliate, web: str
) -> None:
    warning = {"kind": "CIDR", "text": "it is not denied", "hint": "deny more"}
    agent.on("PUT", "/v1/policy", {"policy": [RULE], "warnings": [warning], "revision": 4})
    for arguments in (("import", web), ("validate", web)):
        assert ciliate("policy", *arguments).err == "CIDR it is not denied\n  hint: deny more\n"


def test_a_refused_rule_is_named_by_file_and_field(agent: CannedAgent, ciliate: Ciliate, web: str) -> None:
    refusal = {
        "error": "70000 is no port",
        "path": "rules[0].ingress[0].toPorts[0].ports[0].port",
        "hint": "1-65535",
    }
    agent.on("PUT", "/v1/policy", refusal, 400)
    for arguments in (("import", web), ("validate", web)):
        ran = ciliate("policy", *arguments)
        assert (ran.status, ran.out) == (1, "")
        assert ran.err == (
            f"error: {web}: [0].ingress[0].toPorts[0].ports[0].port: 70000 is no port\nhint: 1-65535\n"
        )


def test_validate_changes_nothing(agent: CannedAgent, ciliate: Ciliate, web: str) -> None:
    agent.on("PUT", "/v1/policy", {"policy": [RULE], "revision": 3})
    assert ciliate("policy", "validate", web).out == "1 rule valid\n"
    assert agent.requests[0][2] == {"dry-run": ["true"]}


def test_a_file_that_is_not_there_asks_nothing_of_the_agent(agent: CannedAgent, ciliate: Ciliate) -> None:
    ran = ciliate("policy", "import", "absent.yaml")
    assert (ran.status, ran.err) == (1, "error: absent.yaml: cannot be read: No such file or directory\n")
    assert agent.requests == []


def test_get_in_words(agent: CannedAgent, ciliate: Ciliate) -> None:
    agent.on(
        "GET",
        "/v1/policy",
        {"policy": [RULE, {"endpointSelector": {}, "ingress": []}, RULE], "audited": [2], "revision": 9},
    )
    ran = ciliate("policy", "get")
    assert ran.out == (
        "#  SELECTS  LABELS        SAYS\n"
        "0  app=web  opt:name=web  ingress allow from app=client on 80/TCP\n"
        "                          egress allow nothing\n"
        "1  all      -             nothing\n"
        "2  app=web  opt:name=web  audited: ingress allow from app=client on 80/TCP\n"
        "                          audited: egress allow nothing\n"
    )
    assert ran.err == "revision 9\n"


def test_what_get_prints_as_json_can_be_imported_again(
    agent: CannedAgent, ciliate: Ciliate, tmp_path: Path
) -> None:
    agent.on("GET", "/v1/policy", {"policy": [RULE], "revision": 9})
    agent.on("PUT", "/v1/policy", {"policy": [RULE], "revision": 10})
    for form in ("json", "yaml"):
        copy = tmp_path / f"copy.{form}"
        copy.write_text(ciliate("policy", "get", "--labels", "name=web", "-o", form).out)
        assert agent.requests[-1][2] == {"labels": ["name=web"]}
        assert ciliate("policy", "import", str(copy)).status == 0
        assert agent.requests[-1][3] == [RULE]


def test_delete(agent: CannedAgent, ciliate: Ciliate) -> None:
    agent.on("DELETE", "/v1/policy", {"revision": 5, "deleted": 2})
    assert ciliate("policy", "delete", "name=web", "team").out == "2 rules deleted, revision 5\n"
    assert agent.requests[-1][2]["labels"] == ["name=web", "team"]


@pytest.mark.parametrize("arguments", [(), ("name=web", "--all")])
def test_delete_wants_labels_or_all(agent: CannedAgent, ciliate: Ciliate, arguments: tuple[str, ...]) -> None:
    assert ciliate("policy", "delete", *arguments).status == 2
    assert agent.requests == []


def test_wait(agent: CannedAgent, ciliate: Ciliate) -> None:
    agent.on("GET", "/v1/policy", {"policy": [], "revision": 7})
    assert ciliate("policy", "wait", "6", "--timeout", "2").out == "revision 7 is in force\n"
    assert agent.requests[-1][2] == {"revision": ["6"], "wait": ["2.0"]}
    agent.on("GET", "/v1/policy", {"error": "revision 9 is not realized", "path": "", "hint": "later"}, 503)
    assert ciliate("policy", "wait", "9").status == 1


def test_named_sets(agent: CannedAgent, ciliate: Ciliate) -> None:
    agent.on(
        "GET",
        "/v1/policy/name",
        [
            {"name": "base", "rules": 2, "audit": False, "origin": "/etc/policies", "revision": 7},
            {"name": "x", "rules": 0, "audit": True, "origin": "", "revision": 9},
        ],
    )
    assert ciliate("policy", "sets").out == (
        "SET   RULES  AUDIT  REVISION  ORIGIN\n"
        "base  2      no     7         /etc/policies\n"
        "x     0      yes    9         -\n"
    )
    agent.on("GET", "/v1/policy/name/base", {"policy": [RULE], "revision": 9})
    assert json.loads(ciliate("policy", "get", "--name", "base", "-o", "json").out) == [RULE]
    agent.on("DELETE", "/v1/policy/name/base", {"revision": 10, "deleted": 2})
    assert ciliate("policy", "delete", "--name", "base").out == "2 rules deleted, revision 10\n"
    assert ciliate("policy", "get", "--name", "base", "--labels", "a").status == 2
    assert ciliate("policy", "delete", "--name", "base", "--all").status == 2
