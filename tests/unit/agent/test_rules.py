"""Rules go in by one way: stored first, then in force; what is in force is never less than one whole set of them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from agent.room import Room
from agent.rules import Rules
from datapath.memory import MemoryDatapath
from model.errors import Conflict, Exhausted, InvalidInput, NotFound, Unavailable
from model.flow import Direction
from policy.mapstate import PolicyFlag, PolicyKey
from store.kv import Set
from store.policies import UNNAMED
from tests.unit.agent.node import KEYS, Node, allow, until


def admits(node: Node, role: str) -> bool:
    """Has the map of web (e0) an entry for client (e1)?"""
    web, other = node.state.endpoints["e0"], node.state.endpoints["e1"]
    entries = node.datapath.policy(node.state.subjects[web.identity].slot) or {}
    assert f"container:role={role}" in other.labels.texts()
    return PolicyKey(Direction.INGRESS, other.identity, 6, 80, 16) in entries


def roles(node: Node) -> list[str]:
    """Of the subjects of the rules in force."""
    shown = node.rules.show([], 0, 0.0)["policy"]
    return [rule["endpointSelector"]["matchLabels"]["role"] for rule in shown]


def test_what_was_waited_for_is_in_force(node: Node) -> None:
    before = node.rules.revision
    revision = node.put(allow("web", "client"))
    assert admits(node, "client")
    assert node.rules.revision >= revision > before
    assert node.rules.delete(["to=web"], 5.0)["deleted"] == 1
    assert not admits(node, "client")


def test_rules_may_come_in_kubernetes_objects_one_to_a_document(node: Node) -> None:
    document = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: %s, creationTimestamp: 2024-05-01T10:00:00Z}
spec:
  endpointSelector: {matchLabels: {role: %s}}
  ingress: [{fromEndpoints: [{matchLabels: {role: client}}], toPorts: [{ports: [{port: "80", protocol: TCP}]}]}]
"""
    body = "---".join(document % pair for pair in (("web-in", "web"), ("db-in", "db"))).encode()
    node.rules.put(body, "application/yaml", replace=[], wait=5.0, dry_run=False)
    assert admits(node, "client")
    assert roles(node) == ["web", "db"]
    assert node.rules.delete(["name=web-in"], 5.0)["deleted"] == 1
    assert roles(node) == ["db"]


def test_one_may_wait_for_a_revision_that_another_made(node: Node) -> None:
    revision = node.put(allow("web", "client"), wait=0.0)
    assert node.rules.show([], revision, 5.0)["revision"] >= revision
    assert admits(node, "client")


def test_who_waits_for_what_never_comes_is_told_so(node: Node) -> None:
    with pytest.raises(Unavailable, match="not in force"):
        node.rules.show([], node.rules.revision + 1000, 0.05)


def test_two_writers_lose_nothing(node: Node) -> None:
    other = Rules(node.loop, node.policies, node.last, node.policies.watch())
    writers = [node.rules, other]

    def write(number: int) -> None:
        body = json.dumps([allow(f"r{number}", "client")]).encode()
        writers[number % 2].put(body, "", replace=[], wait=0.0, dry_run=False)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(write, range(12)))
    node.rules.show([], max(found.index for found in node.policies.all().values()), 5.0)
    assert sorted(roles(node)) == sorted(f"r{number}" for number in range(12))


def test_replacing_is_one_change(node: Node) -> None:
    """Nobody ever sees the old rules gone and the new ones not there."""
    node.put(allow("web", "client"), allow("other", "client"))
    seen: set[tuple[str, ...]] = set()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.add(tuple(sorted(roles(node))))

    looking = threading.Thread(target=look)
    looking.start()
    for _ in range(10):
        node.put(allow("web", "client", "web"), replacing=["to=web"])
    done.set()
    looking.join()
    assert seen == {("other", "web")}


def test_a_dry_run_changes_nothing(node: Node) -> None:
    body = json.dumps([allow("web", "client")]).encode()
    node.rules.put(body, "", replace=[], wait=0.0, dry_run=True)
    assert node.policies.all() == {}


def test_the_revision_only_grows_also_over_a_restart(node: Node) -> None:
    seen = [node.put(allow("web", "client")), node.put(allow("db", "client"))]
    node.rules.put_named("x", b"[]", "", wait=5.0, dry_run=False)
    seen.append(node.rules.delete_named("x", 5.0)["revision"])
    seen.append(node.rules.revision)
    node.stop()
    second = node.restarted()
    second.start()
    seen.append(second.rules.revision)
    seen.append(second.put(allow("web")))
    second.stop()
    assert seen == sorted(seen)


def test_rules_are_in_force_after_a_start_before_anything_else(node: Node) -> None:
    """Killed right after the answer, before the watch brought them into force."""
    node.rules.stop()
    node.put(allow("web", "client"), wait=0.0)
    node.loop.stop()
    assert not admits(node, "client")
    second = node.restarted()
    assert admits(second, "client"), "no thread has been started yet"


def test_rules_that_do_not_fit_are_refused_and_not_stored(node: Node) -> None:
    node.put(allow("web", "client"))
    node.rules.stop()
    small = Rules(node.loop, node.policies, node.last, node.policies.watch(), Room(policy=8))
    stored = node.policies.all()
    for dry_run in (True, False):
        with pytest.raises(Exhausted, match="container:role=web"):
            small.put(json.dumps([WIDE]).encode(), "", replace=[], wait=0.0, dry_run=dry_run)
    prefixes = {"endpointSelector": {}, "egress": [{"toCIDR": [f"192.0.2.{n}/32" for n in range(4)]}]}
    small = Rules(node.loop, node.policies, node.last, node.policies.watch(), Room(prefixes={"hosts4": 3}))
    with pytest.raises(Exhausted, match="hosts4"):
        small.put(json.dumps([prefixes]).encode(), "", replace=[], wait=0.0, dry_run=False)
    assert node.policies.all() == stored
    assert admits(node, "client")


WIDE = {
    "endpointSelector": {"matchLabels": {"role": "web"}},
    "ingress": [{"toPorts": [{"ports": [{"port": str(port)} for port in range(1, 41, 2)]}]}],
    "labels": ["wide"],
}


@pytest.fixture
def narrow() -> Iterator[Node]:
    """A node whose kernel has smaller maps than its rules are measured by, as when others write the store."""
    node = Node(datapath=MemoryDatapath({"inner": 16})).start()
    node.network()
    node.join(0, "web")
    node.join(1, "client")
    node.put(allow("web", "client"))
    yield node
    node.stop()


def test_rules_that_cannot_be_realized_leave_the_old_ones_in_force(narrow: Node) -> None:
    with pytest.raises(Exhausted, match="not in force"):
        narrow.put(WIDE, replacing=["to=web"])
    assert "not in force" in narrow.rules.problem
    assert admits(narrow, "client")
    assert roles(narrow) == ["web"]
    narrow.rules.delete(["wide"], 5.0)
    assert narrow.rules.problem == ""
    assert narrow.rules.show([], 0, 0.0)["policy"] == []


def test_also_after_a_restart(narrow: Node) -> None:
    with pytest.raises(Exhausted):
        narrow.put(WIDE, replacing=["to=web"])
    narrow.stop()
    second = narrow.restarted()
    assert admits(second, "client")
    second.start()
    assert "not in force" in second.rules.problem
    second.rules.delete([], 0.0)
    until(lambda: not second.rules.problem)
    assert not admits(second, "client")
    second.stop()


def test_an_old_failure_is_not_told_to_who_repairs_it(narrow: Node) -> None:
    with pytest.raises(Exhausted):
        narrow.put(WIDE, replacing=["to=web"])
    for _ in range(5):
        narrow.put(allow("web", "client"), replacing=["wide"])
        with pytest.raises(Exhausted):
            narrow.put(WIDE)


def test_damage_in_the_store_ends_nothing(node: Node) -> None:
    """The thread that follows the store survives what it cannot read, and goes on when it can."""
    node.put(allow("web", "client"))
    key = KEYS.policy("broken")
    node.cluster.transact([Set(key, b"{")])
    until(lambda: node.rules.problem)
    assert "damaged" in node.rules.problem
    assert admits(node, "client")
    node.stop()
    second = node.restarted()
    assert admits(second, "client"), "the copy that the node keeps of the rules in force"
    second.start()
    assert "damaged" in second.rules.problem
    second.policies.delete("broken")
    until(lambda: not second.rules.problem)
    second.stop()


class BrokenOnce:
    """A watch that fails in a way that nobody has thought of, once."""

    def __init__(self, watch: Any) -> None:
        self._watch = watch
        self.failures = 1

    def next(self, timeout: float | None = None) -> Any:
        change = self._watch.next(timeout)
        if change is not None and not change.whole and self.failures:
            self.failures -= 1
            raise ZeroDivisionError("a bug")
        return change

    def close(self) -> None:
        self._watch.close()


def test_a_bug_ends_nothing_either() -> None:
    node = Node()
    node.rules = Rules(node.loop, node.policies, node.last, BrokenOnce(node.policies.watch()))  # type: ignore[arg-type]
    node.start()
    node.put(allow("web", "client"))
    assert roles(node) == ["web"]
    node.stop()


def test_named_sets_are_replaced_as_a_whole(node: Node) -> None:
    node.put(allow("db", "client"))
    body = json.dumps([allow("web", "client"), allow("web", "web")]).encode()
    for _ in range(2):
        node.rules.put_named("shop", body, "", wait=5.0, dry_run=False)
        assert len(node.rules.show_named("shop")["policy"]) == 2
        assert sorted(roles(node)) == ["db", "web", "web"]
    assert node.rules.delete([], 5.0)["deleted"] == 1, "those without a name"
    assert roles(node) == ["web", "web"]
    assert [node.rules.delete_named("shop", 5.0)["deleted"] for _ in range(2)] == [2, 0]
    assert roles(node) == []
    with pytest.raises(NotFound):
        node.rules.show_named("shop")


def put_set(
    node: Node, *rules: object, origin: str = "", dry_run: bool = False, audit: bool = False
) -> dict[str, Any]:
    body = json.dumps(rules).encode()
    return node.rules.put_named("shop", body, "", wait=5.0, dry_run=dry_run, origin=origin, audit=audit)


def test_a_named_set_says_what_a_change_does(node: Node) -> None:
    rule = allow("web", "client")
    results = [put_set(node, rule, dry_run=dry)["result"] for dry in (True, False, False, True)]
    assert results == ["created", "created", "unchanged", "unchanged"]
    index = node.policies.all()["shop"].index
    assert [put_set(node, rule, rule, dry_run=dry)["result"] for dry in (True, False)] == ["changed"] * 2
    assert node.policies.all()["shop"].index > index
    assert put_set(node)["result"] == "changed", "an empty set is one too"
    shown = {"name": "shop", "rules": 0, "audit": False, "origin": "", "revision": node.rules.revision}
    assert node.rules.sets() == [shown]


def said(node: Node) -> PolicyFlag:
    """Of anybody, by the map of web (e0), about what comes in."""
    subject = node.state.subjects[node.state.endpoints["e0"].identity]
    entries = node.datapath.policy(subject.slot) or {}
    entry = entries.get(PolicyKey(Direction.INGRESS))
    return entry.says if entry else PolicyFlag(0)


def test_a_set_can_be_audited_before_it_is_in_force(node: Node) -> None:
    rule = allow("web", "client")
    assert put_set(node, rule, audit=True) | {"policy": 0, "warnings": 0} == {
        "policy": 0, "warnings": 0, "revision": node.rules.revision, "result": "created", "origin": "", "audit": True,
    }  # fmt: skip
    assert said(node) is PolicyFlag.ALLOW, "it is open, and what the set does not allow is told"
    assert put_set(node, rule, audit=True)["result"] == "unchanged"
    shown = node.rules.show_named("shop")
    assert (shown["audit"], shown["audited"]) == (True, [0])
    node.put(allow("web", "other"))
    assert node.rules.show([], 0, 0.0)["audited"] == [1]
    assert [each["audit"] for each in node.rules.sets()] == [True]
    for dry_run in (True, False):
        assert put_set(node, rule, dry_run=dry_run)["result"] == "changed", "it is in force now"
    assert not said(node)
    assert (node.rules.show_named("shop")["audited"], node.rules.show([], 0, 0.0)["audited"]) == ([], [])
    assert put_set(node, rule, audit=True)["result"] == "changed", "and back"
    put_set(node, audit=True)
    assert node.rules.show_named("shop")["audit"], "an empty set is one too"


def test_an_audited_set_is_so_after_a_restart_even_by_the_copy_that_a_node_keeps(node: Node) -> None:
    put_set(node, allow("web", "client"), audit=True)
    node.stop()
    again = node.restarted().start()
    assert said(again) is PolicyFlag.ALLOW
    again.cluster.transact([Set(KEYS.policy("broken"), b"{")])
    until(lambda: again.rules.problem)
    again.stop()
    last = again.restarted()
    assert last.found.problem and last.state.repository.audited == {"shop"}
    assert said(last) is PolicyFlag.ALLOW


def test_a_set_is_kept_by_one(node: Node) -> None:
    put_set(node, allow("web", "client"))
    assert put_set(node, allow("web", "client"), origin="/a")["result"] == "changed", "now it is kept"
    assert put_set(node, allow("web", "client"), origin="/a")["result"] == "unchanged"
    for dry_run in (True, False):
        with pytest.raises(Conflict, match="kept by '/a'"):
            put_set(node, allow("web"), origin="/b", dry_run=dry_run)
    assert node.rules.sets()[0]["origin"] == "/a"
    put_set(node, allow("web"))
    assert node.rules.sets()[0]["origin"] == "", "who says no origin, takes it away"


@pytest.mark.parametrize("name", [UNNAMED, "", "a/b", "-a", "x" * 300])
def test_a_name_that_is_none_is_refused(node: Node, name: str) -> None:
    for dry_run in (True, False):
        with pytest.raises(InvalidInput):
            node.rules.put_named(name, b"[]", "", wait=0.0, dry_run=dry_run)
    with pytest.raises(InvalidInput):
        node.rules.delete_named(name, 0.0)


def test_who_waits_while_the_agent_stops_is_told_so(node: Node) -> None:
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(node.rules.show, [], node.rules.revision + 1000, 60.0)
        threading.Timer(0.1, node.rules.stop).start()
        with pytest.raises(Unavailable, match="stopping"):
            waiting.result(10)
