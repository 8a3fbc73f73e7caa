"""What a store that nodes share promises beyond the contract of all stores: sessions, lost answers, Consul's own
failures, and rights."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from model.errors import Conflict, Forbidden, Unavailable
from model.labels import Label, Labels
from store.consul import ConsulStore
from store.consul_address import ConsulAddress
from store.identities import IdentityAllocator
from store.keys import Keys
from store.kv import Changed, Delete, DeletePrefix, KeyValueStore, Op, Removed, Resynced, Set
from tests.consul.relay import Relay
from tests.consul.server import Server, free_ports, one_server, wait_for

ROOT = Path(__file__).parents[2]
KEYS = Keys()


@contextmanager
def node(address: ConsulAddress, name: str = "one", boot: str = "1") -> Iterator[ConsulStore]:
    store = ConsulStore(address, name, KEYS.session(name), boot)
    try:
        yield store
    finally:
        store.close()


def sessions(server: Server) -> list[dict[str, object]]:
    found: list[dict[str, object]] = server.ask("GET", "/v1/session/list")
    return found


def held(server: Server, key: str) -> str:
    return str(server.ask("GET", f"/v1/kv/{key}")[0]["Session"])


def eventually(store: KeyValueStore, ops: list[Op]) -> int:
    deadline = time.monotonic() + 20
    while True:
        try:
            return store.transact(ops)
        except Unavailable:
            assert time.monotonic() < deadline
            time.sleep(0.1)


# sessions


def test_the_session_is_short_removes_its_keys_and_hangs_on_no_check(consul: Server) -> None:
    with node(consul.http) as store:
        store.transact([Set("nodes/one", b"", session=True), Set("pools/one", b"")])
        session = held(consul, "nodes/one")
        [found] = [each for each in sessions(consul) if each["ID"] == session]
        assert (found["TTL"], found["Behavior"], found["LockDelay"]) == ("30s", "delete", 0)
        assert not found["NodeChecks"]
        assert held(consul, KEYS.session("one")) == session


def test_a_session_that_ends_takes_its_keys_and_a_new_one_begins(consul: Server) -> None:
    with node(consul.http) as store:
        store.transact([Set("nodes/one", b"", session=True), Set("pools/one", b"")])
        assert store.health().session == 1
        watch = store.watch("nodes/")
        watch.next(5)
        consul.ask("PUT", f"/v1/session/destroy/{held(consul, 'nodes/one')}")
        gone = watch.next(5)
        assert isinstance(gone, Removed) and gone.keys == ("nodes/one",)
        wait_for(lambda: store.health().session == 2, "no new session", 5)
        store.transact([Set("nodes/one", b"", session=True)])
        assert store.get("pools/one") is not None
        assert isinstance(watch.next(5), Changed)


def test_an_agent_that_comes_back_goes_on_with_its_session(consul: Server) -> None:
    with node(consul.http) as store:
        store.transact([Set("nodes/one", b"", session=True)])
    before = held(consul, "nodes/one")
    with node(consul.http) as store:
        store.transact([Set("ips/one", b"", session=True)])
        assert held(consul, "ips/one") == held(consul, "nodes/one") == before


def test_two_agents_of_one_name_are_told_apart(consul: Server) -> None:
    with node(consul.http) as first:
        first.transact([Set("a", b"")])
    with node(consul.http) as first, node(consul.http, boot="2") as second:
        with pytest.raises(Unavailable, match="another agent is node one"):
            second.transact([Set("a", b"2")])
        assert second.get("a") is not None, "it may still read"
        assert "another agent" in second.health().problem
        first.close()
        consul.ask("PUT", f"/v1/session/destroy/{held(consul, KEYS.session('one'))}")
        eventually(second, [Set("a", b"2")])


def test_what_belongs_to_one_node_is_not_anothers(consul: Server) -> None:
    with node(consul.http) as one, node(consul.http, "two") as two:
        one.transact([Set("lock/x", b"one", session=True)])
        with pytest.raises(Conflict, match="belongs to another node"):
            two.transact([Set("lock/x", b"two", session=True)])


# identities


def identity_labels(number: int) -> Labels:
    return Labels([Label("container", "app", str(number))])


def test_fifty_nodes_that_allocate_at_once_agree(consul: Server) -> None:
    """Ten sets of labels that all want, and one of its own for each: sixty identities."""

    def allocate(number: int) -> dict[Labels, int]:
        with node(consul.http, f"n{number}") as store:
            allocator = IdentityAllocator(store, KEYS, f"n{number}")
            wanted = [identity_labels(each) for each in (*range(10), 1000 + number)]
            random.Random(number).shuffle(wanted)
            return {each: allocator.allocate(each) for each in wanted}

    with ThreadPoolExecutor(50) as threads:
        found = list(threads.map(allocate, range(50)))
    merged: dict[Labels, int] = {}
    for each in found:
        for labels, number in each.items():
            assert merged.setdefault(labels, number) == number
    assert len(merged) == 60 == len(set(merged.values()))
    with node(consul.http) as store:
        allocator = IdentityAllocator(store, KEYS, "one", grace=0)
        assert allocator.all() == {number: labels for labels, number in merged.items()}
        assert [allocator.collect() for _ in range(3)] == [[]] * 3, "all are in use"
        for each in sessions(consul):
            consul.ask("PUT", f"/v1/session/destroy/{each['ID']}")
        wait_for(lambda: store.health().session == 2, "no new session", 10)
        allocator.collect()
        assert sorted(allocator.collect()) == sorted(merged.values()), "nobody lives who uses them"


def test_a_start_costs_few_writes(consul: Server) -> None:
    with node(consul.http) as store, node(consul.http, "two") as other:
        allocator = IdentityAllocator(store, KEYS, "one")
        before = store.transact([])
        number = allocator.allocate(identity_labels(1))
        assert store.transact([]) == before + 2, "one, and the one that asks"
        assert IdentityAllocator(other, KEYS, "two").allocate(identity_labels(1)) == number
        assert store.transact([]) == before + 4


# lost answers


@pytest.mark.parametrize(
    "ops",
    [
        [Set("counter", b"1")],
        [Set("counter", b"1", index=0)],
        [Set("counter", b"1", session=True), Set("other", b"")],
        [Delete("counter")],
        [DeletePrefix("counter")],
        [Set("counter", bytes(500 * 1024))],
    ],
    ids=["set", "create", "session", "delete", "tree", "large"],
)
def test_a_transaction_whose_answer_is_lost_is_done_once(consul: Server, ops: list[Op]) -> None:
    relay = Relay(consul.http.host, consul.http.port, only=b"counter")
    host, port = relay.address
    with node(replace(consul.http, host=host, port=port)) as store:
        store.transact([Set("x", b"")])
        if not isinstance(ops[0], Set):
            store.transact([Set("counter", b"")])
        before = consul.ask("GET", "/v1/kv/x")[0]["ModifyIndex"]
        relay.swallow = 1
        index = store.transact(ops)
        assert relay.swallow == 0
        entry = store.get("counter")
        if isinstance(ops[0], Set):
            assert entry is not None and (entry.value, entry.index) == (ops[0].value, index)
            created = consul.ask("GET", "/v1/kv/counter")[0]
            assert created["CreateIndex"] == created["ModifyIndex"], "it was set once"
        else:
            assert entry is None and index > before
    relay.close()


def test_where_every_answer_is_lost_that_is_said_and_nothing_old_comes_later(consul: Server) -> None:
    relay = Relay(consul.http.host, consul.http.port)
    host, port = relay.address
    with node(replace(consul.http, host=host, port=port)) as store:
        store.transact([Set("x", b"0")])
        relay.swallow = 1000
        with pytest.raises(Unavailable, match="not known whether"):
            store.transact([Set("x", b"1")])
        with pytest.raises(Unavailable):
            store.transact([Set("x", b"2")])
        relay.swallow = 0
        eventually(store, [Set("x", b"3")])
        entry = store.get("x")
        assert entry is not None and entry.value == b"3"
    relay.close()


# Consul's own failures


def test_a_restart_of_consul_loses_nothing(tmp_path: Path) -> None:
    with one_server(tmp_path) as server, node(server.http) as store:
        store.transact([Set("a/1", b"1"), Set("nodes/one", b"", session=True)])
        watch = store.watch("a/")
        assert isinstance(watch.next(5), Resynced)
        server.kill()
        with pytest.raises(Unavailable):
            store.transact([Set("a/2", b"2")])
        wait_for(lambda: bool(store.health().problem), "the problem is not told", 5)
        began = time.monotonic()
        with pytest.raises(Unavailable):
            store.get("a/1")
        assert time.monotonic() - began < 1, "nobody waits for a store known to be away"
        with pytest.raises(Unavailable):
            while watch.next(5) is None:
                pass
        server.start()
        eventually(store, [Set("a/2", b"2")])
        event = None
        while event is None:
            try:
                event = watch.next(5)
            except Unavailable:
                continue
        assert isinstance(event, Resynced), "what was lost is told anew"
        known = {entry.key for entry in event.entries}
        while "a/2" not in known:
            later = watch.next(5)
            assert isinstance(later, Changed)
            known |= {entry.key for entry in later.entries}
        assert store.health().session == 1, "the session outlived it"
        assert store.get("nodes/one") is not None


def test_a_consul_that_begins_again_at_index_one_is_told_as_it_is(tmp_path: Path) -> None:
    with one_server(tmp_path) as server, node(server.http) as store:
        for number in range(50):
            store.transact([Set(f"a/{number}", b"old")])
        watch = store.watch("a/")
        assert isinstance(watch.next(5), Resynced)
        server.kill()
        shutil.rmtree(tmp_path / "data")
        server.start()
        server.wait_ready()
        server.ask("PUT", "/v1/kv/a/1", "new")
        event = None
        while event is None:
            try:
                event = watch.next(5)
            except Unavailable:
                continue
        assert isinstance(event, Resynced)
        assert [entry.key for entry in event.entries] == ["a/1"]
        eventually(store, [Set("nodes/one", b"", session=True)])
        assert store.health().session == 2


# rights


def policies() -> list[str]:
    """Those that the guide shows: a node's and an operator's."""
    return re.findall(r"```hcl\n(.*?)```", (ROOT / "docs/guide/consul.md").read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    acl = {"enabled": True, "default_policy": "deny", "tokens": {"master": MASTER, "agent": MASTER}}
    with one_server(tmp_path_factory.mktemp("acl"), extra={"acl": acl}, token=MASTER) as server:
        yield server


MASTER = "11111111-1111-4111-8111-111111111111"


def token(server: Server, name: str, rules: str) -> str:
    server.ask("PUT", "/v1/acl/policy", {"Name": name, "Rules": rules})
    made = server.ask("PUT", "/v1/acl/token", {"Policies": [{"Name": name}]})
    return str(made["SecretID"])


@pytest.fixture(scope="module")
def tokens(guarded: Server) -> tuple[str, str]:
    of_node, of_operator = policies()
    return token(guarded, "node", of_node.replace("NODE", "one")), token(guarded, "operator", of_operator)


def test_a_node_writes_what_is_its_own_and_reads_all(guarded: Server, tokens: tuple[str, str]) -> None:
    with node(replace(guarded.http, token=tokens[0])) as store:
        root = KEYS.root
        for key in ("nodes/one", "ips/one/10.0.0.1/32", "identities/refs/one/300"):
            store.transact([Set(root + key, b"", session=True)])
        for key in ("pools/one/10.0.0.0/24", "identities/id/300", "identities/value/a", "identities/last"):
            store.transact([Set(root + key, b"")])
        for key in ("networks/a", "slices/10.0.0.0/24", "lock/slices"):
            store.transact([Set(root + key, b"")])
            store.transact([Delete(root + key)])
        for key in (
            "nodes/two",
            "nodes/one2",
            "ips/two/10.0.0.1/32",
            "pools/two/10.0.0.0/24",
            "policies/web",
        ):
            with pytest.raises(Forbidden, match="Permission denied"):
                store.transact([Set(root + key, b"")])
        with pytest.raises(Forbidden):
            store.transact([Set("elsewhere", b"")])
        assert len(store.list(root)) == 7
        assert store.health().problem == "", "a refusal is no outage"


def test_rules_are_written_with_the_operators_token(guarded: Server, tokens: tuple[str, str]) -> None:
    of_node, of_operator = tokens
    with node(replace(guarded.http, token=of_node)) as store:
        web = KEYS.policy("web")
        watch = store.watch(KEYS.policies())
        assert isinstance(watch.next(5), Resynced)
        index = store.transact([Set(web, b"1", index=0)], token=of_operator)
        changed = watch.next(5)
        assert isinstance(changed, Changed) and changed.index >= index
        with pytest.raises(Conflict, match="exists already"):
            store.transact([Set(web, b"2", index=0)], token=of_operator)
        large = store.transact([Set(KEYS.policy("large"), bytes(400 * 1024))], token=of_operator)
        assert large > index
        assert isinstance(watch.next(5), Changed)
        gone = store.transact([Delete(web, index=index)], token=of_operator)
        removed = watch.next(5)
        assert isinstance(removed, Removed) and removed.index >= gone > index
        with pytest.raises(Forbidden):
            store.transact([Set(KEYS.node("one"), b"")], token=of_operator)


def test_what_may_not_be_read_does_not_look_empty(guarded: Server) -> None:
    nothing = token(guarded, "nothing", 'session_prefix "" { policy = "write" }')
    for secret in (nothing, "22222222-2222-4222-8222-222222222222", ""):
        with node(replace(guarded.http, token=secret), "three") as store:
            with pytest.raises(Forbidden):
                store.list(KEYS.policies())
            with pytest.raises(Unavailable):
                while store.watch(KEYS.policies()).next(3) is None:
                    pass


def test_a_token_file_is_read_again_when_it_changes(
    guarded: Server, tokens: tuple[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "token"
    address = replace(guarded.http, token="", token_file=file)
    with node(address) as store:
        with pytest.raises(Unavailable, match="cannot be read"):
            store.get("x")
        file.write_text("22222222-2222-4222-8222-222222222222")
        wait_for(lambda: "Consul refuses" in store.health().problem, "the wrong token is not told", 10)
        file.write_text(tokens[0] + "\n")
        eventually(store, [Set(KEYS.node("one"), b"", session=True)])


# TLS


def test_tls_with_certificates_of_both_sides(tmp_path: Path) -> None:
    for name in ("ca", "server", "client"):
        _certificate(tmp_path, name)
    pem = {name: tmp_path / f"{name}.pem" for name in ("ca", "server", "client")}
    ports = free_ports("127.0.0.1")
    extra = {
        "ca_file": str(pem["ca"]),
        "cert_file": str(pem["server"]),
        "key_file": str(tmp_path / "server.key"),
        "verify_incoming_https": True,
    }
    https = free_ports("127.0.0.1")["http"]
    with one_server(tmp_path / "consul", ports={**ports, "https": https}, extra=extra):
        address = ConsulAddress(
            "127.0.0.1",
            https,
            tls=True,
            ca=pem["ca"],
            certificate=pem["client"],
            key=tmp_path / "client.key",
        )
        with node(address) as store:
            store.transact([Set("a", b"1")])
            watch = store.watch("a")
            assert isinstance(watch.next(5), Resynced)
            assert watch.next(0.3) is None
            store.transact([Set("a", b"2")])
            assert isinstance(watch.next(5), Changed)
            watch.close()
        for wrong in (replace(address, ca=None), replace(address, certificate=None, key=None)):
            with node(wrong, "two") as store:
                wait_for(lambda store=store: "certificate" in store.health().problem, "it is not told")
                with pytest.raises(Unavailable):
                    store.transact([Set("a", b"3")])


def _certificate(folder: Path, name: str) -> None:
    request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    request += ["-days", "2", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem"]
    if name != "ca":
        request += ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "subjectAltName=IP:127.0.0.1"]
        request += ["-addext", "basicConstraints=CA:FALSE"]
    subprocess.run(request, cwd=folder, check=True, capture_output=True)
