"""`ciliate store`: to a file, from a file, from one store to another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import CannedAgent, Ciliate

DOCUMENT = {"version": 1, "cluster": "c", "policies": [{"name": "web", "rules": []}]}


def test_a_backup_is_a_file_that_restore_takes(agent: CannedAgent, ciliate: Ciliate, tmp_path: Path) -> None:
    file = tmp_path / "rules.json"
    agent.on("GET", "/v1/store/backup", DOCUMENT)
    agent.on("PUT", "/v1/store/restore", {"stored": ["web"], "unchanged": 2})
    assert ciliate("store", "backup", str(file)).out == "1 set of rules written\n"
    assert json.loads(file.read_text()) == DOCUMENT
    assert json.loads(ciliate("store", "backup", "-").out) == DOCUMENT
    assert ciliate("store", "restore", str(file)).out == "1 set of rules stored, 2 there already\n"
    assert agent.requests[-1] == ("PUT", "/v1/store/restore", {"replace": ["false"]}, DOCUMENT)
    ciliate("store", "restore", "--replace", str(file))
    assert agent.requests[-1][2] == {"replace": ["true"]}


def test_what_is_no_backup_is_refused(ciliate: Ciliate, tmp_path: Path) -> None:
    file = tmp_path / "rules.json"
    assert "cannot be read" in ciliate("store", "restore", str(file)).err
    file.write_text("{")
    assert "is no backup" in ciliate("store", "restore", str(file)).err


def test_migrating_is_one_request(agent: CannedAgent, ciliate: Ciliate) -> None:
    agent.on("POST", "/v1/store/migrate", {"stored": ["a", "b"], "unchanged": 0})
    assert ciliate("store", "migrate").out == "2 sets of rules stored, 0 there already\n"


def test_rules_are_written_with_the_token_that_consuls_own_command_takes(
    agent: CannedAgent, ciliate: Ciliate, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.on(
        "POST", "/v1/store/migrate", {"error": "Consul refuses", "path": "", "hint": "rights"}, status=403
    )
    ran = ciliate("store", "migrate")
    assert ran.status == 1 and "Consul refuses" in ran.err
    assert "X-Consul-Token" not in agent.headers[-1]
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "s3cret")
    ciliate("store", "migrate")
    assert agent.headers[-1]["X-Consul-Token"] == "s3cret"
