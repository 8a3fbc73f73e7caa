"""Two nodes over a real Consul."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from store.consul import ConsulStore
from tests.consul.server import Server
from tests.unit.agent.member import Member
from tests.unit.agent.node import KEYS, until


def joined(server: Server, name: str) -> Member:
    store = ConsulStore(server.http, name, KEYS.session(name), f"boot of {name}")
    until(lambda: store.health().session)
    member = Member(store, name=name).start()
    member.publisher.start()
    member.peers.start()
    return member


def leave(member: Member) -> None:
    member.peers.stop()
    member.publisher.stop()
    member.stop()
    member.cluster.close()


@pytest.fixture
def pair(consul: Server) -> Iterator[tuple[Member, Member]]:
    members = joined(consul, "one"), joined(consul, "two")
    yield members
    for member in members:
        leave(member)


def test_what_one_has_the_other_knows_and_a_session_that_ends_changes_nothing(
    consul: Server, pair: tuple[Member, Member]
) -> None:
    one, two = pair
    two.network(1)
    for number in range(70):
        two.join(number, f"r{number % 3}", in_network=1)
    until(lambda: all(one.knows(two, number) for number in range(70)))
    revision = one.loop.revision
    (session,) = {found["Session"] for found in consul.ask("GET", f"/v1/kv/{KEYS.node('two')}")}
    consul.ask("PUT", f"/v1/session/destroy/{session}")
    until(lambda: two.cluster.health().session == 2)
    until(lambda: two.identities.refresh() == [] and len(two.cluster.list(KEYS.ips("two"))) == 70)
    until(lambda: two.cluster.get(KEYS.node("two")) is not None and not one.peers.left())
    assert len(two.cluster.list(KEYS.identity_references("two"))) == 3
    assert one.loop.revision == revision
    two.realm.remove_endpoint("e7")
    until(lambda: one.entry("10.1.0.12") is None)


def test_what_a_start_writes(consul: Server, pair: tuple[Member, Member]) -> None:
    """Two writes, one of them for labels that nobody had."""
    one, two = pair
    two.network(1)
    two.join(0, "web", in_network=1)
    until(lambda: one.knows(two, 0))
    before = int(consul.ask("GET", f"/v1/kv/{KEYS.node('two')}")[0]["ModifyIndex"])
    two.join(1, "db", in_network=1)
    until(lambda: one.knows(two, 1))
    after = int(consul.ask("GET", f"/v1/kv/{KEYS.node('two')}")[0]["ModifyIndex"])
    assert after - before <= 3, "the session's renewal may be among them"
