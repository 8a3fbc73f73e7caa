"""`ciliate policy apply`: a folder of rules, brought into force as it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from agent.events import HostChanged
from model.errors import Exhausted
from tests.unit.agent.node import Node, allow
from tests.unit.cli.conftest import CannedAgent, Ciliate


@pytest.fixture
def node(agent: CannedAgent) -> Iterator[Node]:
    """Behind the API's socket, as far as sets go."""
    node = Node().start()

    def put(name: str) -> Any:
        return lambda query, body: node.rules.put_named(
            name,
            json.dumps(body).encode(),
            "",
            wait=0.0,
            dry_run=query["dry-run"] == ["true"],
            origin=query["origin"][0],
            audit=query["audit"] == ["true"],
        )

    def delete(name: str) -> Any:
        return lambda query, _body: node.rules.delete_named(name, float(query.get("wait", ["0"])[0]))

    for name in ("web", "db", "full", "no name"):
        path = f"/v1/policy/name/{name}".replace(" ", "%20")
        agent.on("PUT", path, put(name))
        agent.on("DELETE", path, delete(name))
    agent.on("DELETE", "/v1/policy", lambda query, _body: node.rules.delete([], float(query["wait"][0])))
    agent.on("GET", "/v1/policy/name", lambda _query, _body: node.rules.sets())
    agent.on(
        "GET",
        "/v1/policy",
        lambda query, _body: node.rules.show([], int(query["revision"][0]), float(query["wait"][0])),
    )
    yield node
    node.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "policies"
    folder.mkdir()
    write(folder / "web.json", allow("web", "client"), allow("web", "web"))
    (folder / "db.yaml").write_text("endpointSelector: {}\ningress: [{}]\n")
    (folder / "README").write_text("no rules")
    return folder


def write(path: Path, *rules: Any) -> None:
    path.write_text(json.dumps(rules))


def table(*rows: str) -> str:
    return "".join(f"{row}\n" for row in ("SET  RULES  RESULT", *rows))


def sets(node: Node) -> dict[str, str]:
    return {each["name"]: each["origin"] for each in node.rules.sets()}


def writes(agent: CannedAgent) -> list[tuple[str, str]]:
    return [
        (method, path.rpartition("/")[2])
        for method, path, query, _ in agent.requests
        if method != "GET" and query.get("dry-run") != ["true"]
    ]


def test_it_may_be_repeated(node: Node, agent: CannedAgent, ciliate: Ciliate, folder: Path) -> None:
    ran = ciliate("policy", "apply", "-f", str(folder), "--wait", "5")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out == table("db   1      created", "web  2      created")
    assert sets(node) == {"db": str(folder), "web": str(folder)}
    assert len(node.state.repository.named) == 2, "they are in force"

    agent.requests.clear()
    assert ciliate("policy", "apply", "-f", str(folder)).out == table(
        "db   1      unchanged", "web  2      unchanged"
    )
    assert writes(agent) == []

    write(folder / "web.json", allow("web", "client"))
    assert ciliate("policy", "apply", "-f", str(folder)).out == table(
        "db   1      unchanged", "web  1      changed"
    )
    assert writes(agent) == [("PUT", "web")]


def test_what_a_set_does_not_reach_is_told_beside_the_table(
    node: Node, ciliate: Ciliate, folder: Path
) -> None:
    node.loop.call(HostChanged(replace(node.state.host, unmanaged=frozenset([ip_network("172.17.0.0/16")]))))
    write(folder / "web.json", {"endpointSelector": {}, "egressDeny": [{"toCIDR": ["172.16.0.0/12"]}]})
    ran = ciliate("policy", "apply", "-f", str(folder))
    assert ran.status == 0 and ran.err.startswith("CIDR what is denied to 172.16.0.0/12 is not denied to")


def test_prune_deletes_what_has_no_file_any_more_and_nothing_else(
    node: Node, agent: CannedAgent, ciliate: Ciliate, folder: Path
) -> None:
    for name, origin in (("by-hand", ""), ("theirs", "/elsewhere")):
        node.rules.put_named(name, b"[]", "", wait=0.0, dry_run=False, origin=origin)
    ciliate("policy", "apply", "-f", str(folder))
    (folder / "db.yaml").unlink()
    assert ciliate("policy", "apply", "-f", str(folder)).out == table("web  2      unchanged")
    assert ciliate("policy", "apply", "-f", str(folder), "--prune", "--dry-run").out == table(
        "web  2      unchanged", "db   1      pruned"
    )
    assert set(sets(node)) == {"by-hand", "theirs", "web", "db"}
    out = ciliate("policy", "apply", "-f", str(folder), "--prune").out
    assert out == table("web  2      unchanged", "db   1      pruned")
    assert set(sets(node)) == {"by-hand", "theirs", "web"}
    assert writes(agent)[-1] == ("DELETE", "db")


def test_a_dry_run_only_says(node: Node, agent: CannedAgent, ciliate: Ciliate, folder: Path) -> None:
    out = ciliate("policy", "apply", "-f", str(folder), "--dry-run", "-o", "json").out
    assert [(each["name"], each["result"]) for each in json.loads(out)] == [
        ("db", "created"),
        ("web", "created"),
    ]
    assert (sets(node), writes(agent)) == ({}, [])


def test_one_file_belongs_to_its_directory(node: Node, ciliate: Ciliate, folder: Path) -> None:
    ciliate("policy", "apply", "-f", str(folder / "web.json"))
    assert sets(node) == {"web": str(folder)}
    assert ciliate("policy", "apply", "-f", str(folder / "web.json"), "--prune").status == 2


def test_all_files_are_checked_before_any_set_is_touched(
    node: Node, agent: CannedAgent, ciliate: Ciliate, folder: Path
) -> None:
    write(
        folder / "web.json",
        allow("web", "client"),
        {"endpointSelector": {}, "ingress": [{"fromCIDR": ["x"]}]},
    )
    ran = ciliate("policy", "apply", "-f", str(folder))
    assert ran.status == 1
    assert ran.err.startswith(f"error: {folder}/web.json: [1].ingress[0].fromCIDR[0]: 'x' is no prefix")
    assert (sets(node), writes(agent)) == ({}, [])


def test_sets_of_another_origin_are_not_taken_over(node: Node, ciliate: Ciliate, folder: Path) -> None:
    node.rules.put_named("web", b"[]", "", wait=0.0, dry_run=False, origin="/elsewhere")
    ran = ciliate("policy", "apply", "-f", str(folder))
    assert (ran.status, sets(node)) == (1, {"web": "/elsewhere"})
    assert ran.err.startswith(f"error: {folder}/web.json: the set 'web' is kept by '/elsewhere'\n")
    assert ciliate("policy", "apply", "-f", str(folder), "--origin", "/elsewhere").status == 0


def test_what_fails_half_way_is_told_with_what_was_done(
    node: Node, agent: CannedAgent, ciliate: Ciliate, folder: Path
) -> None:
    def full(query: Any, _body: Any) -> Any:
        if query["dry-run"] == ["true"]:
            return {
                "policy": [],
                "revision": 0,
                "result": "created",
                "origin": "",
                "audit": False,
                "warnings": [],
            }
        raise Exhausted("no room", hint="less")

    agent.on("PUT", "/v1/policy/name/web", full)
    ran = ciliate("policy", "apply", "-f", str(folder))
    assert (ran.status, ran.err) == (1, "error: no room\nhint: less; done before: db\n")
    assert list(sets(node)) == ["db"]


def test_sets_are_tried_before_they_are_in_force(node: Node, ciliate: Ciliate, folder: Path) -> None:
    apply = ("policy", "apply", "-f", str(folder), "--wait", "5")
    assert ciliate(*apply, "--audit").out == table(
        "db   1      created, audited", "web  2      created, audited"
    )
    assert node.state.repository.audited == {"db", "web"}
    assert ciliate(*apply, "--audit").out == table(
        "db   1      unchanged, audited", "web  2      unchanged, audited"
    )
    assert ciliate(*apply).out == table("db   1      changed", "web  2      changed")
    assert node.state.repository.audited == set()


def test_what_is_no_set_is_refused(node: Node, ciliate: Ciliate, folder: Path) -> None:
    assert ciliate("policy", "apply", "-f", "-").status == 2
    assert ciliate("policy", "apply", "-f", str(folder / "absent.yaml")).status == 1
    empty = folder / "empty"
    empty.mkdir()
    assert ciliate("policy", "apply", "-f", str(empty), "--prune").status == 1, "perhaps the wrong one"
    write(folder / "web.yaml", allow("web"))
    ran = ciliate("policy", "apply", "-f", str(folder))
    assert (ran.status, "would both be the set web" in ran.err) == (2, True)
    (folder / "web.yaml").rename(folder / "no name.yaml")
    ran = ciliate("policy", "apply", "-f", str(folder))
    assert (ran.status, ran.err.startswith(f"error: {folder}/no name.yaml: 'no name' is no name")) == (
        1,
        True,
    )
    assert sets(node) == {}


def test_delete_all_leaves_no_rule_in_force(node: Node, ciliate: Ciliate, folder: Path) -> None:
    ciliate("policy", "apply", "-f", str(folder))
    node.put(allow("cache", "web"))
    ran = ciliate("policy", "delete", "--all", "--wait", "5")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("4 rules deleted, with the sets db, web, revision ")
    assert node.rules.show([], 0, 0.0)["policy"] == [] and node.rules.sets() == []
    again = ciliate("policy", "delete", "--all", "-o", "json")
    assert json.loads(again.out)["deleted"] == 0
