"""The bed itself: if one of these fails, look here before looking at ciliate."""

from __future__ import annotations

from tests.cluster.harness.bed import Bed
from tests.cluster.harness.node import Node
from tests.docker.harness.consul import GOSSIP, RAFT
from tests.docker.harness.world import FAR4


def answers(asker: Node, address: str, port: int = 7) -> bool:
    return bool(asker.ask_from_host("tcp", address, port, seconds=0.5))


def test_hosts_reach_each_other_and_the_world(bed: Bed) -> None:
    a, b, c = bed.nodes
    with a.answering(), bed.underlay.world.serving(7):
        for asker in (b, c):
            assert asker.ask_from_host("tcp", a.ip, 7) == f"a {asker.ip}"
            assert asker.ask_from_host("udp", a.ip6, 7) == f"a {asker.ip6}"
        assert answers(a, FAR4)


def test_a_host_is_cut_off_wholly_or_at_single_ports(bed: Bed) -> None:
    a, b, _ = bed.nodes
    with a.answering(7, 8):
        bed.underlay.cut(a.number)
        assert not answers(b, a.ip)
        bed.underlay.heal()
        assert answers(b, a.ip)
        bed.underlay.cut_ports(a.number, [7])
        assert not answers(b, a.ip, 7) and answers(b, a.ip, 8)


def test_packets_get_lost(bed: Bed) -> None:
    a, b, _ = bed.nodes
    bed.underlay.lose(1000)
    with a.answering():
        assert not answers(b, a.ip)
        bed.underlay.lose(0)
        assert answers(b, a.ip)


def test_consul_survives_its_leader_and_a_server_that_is_cut_off(bed: Bed) -> None:
    leader = bed.leader()
    others = [node for node in bed.nodes if node is not leader]
    others[0].consul.run("kv", "put", "bed", "kept")
    leader.consul.kill()
    for node in others:
        node.until(lambda node=node: node.consul.leader() not in ("", leader.ip), "another leads")
    leader.consul.start()
    leader.until(lambda: leader.consul.get("/v1/kv/bed"), "it is back")

    alone = bed.leader()
    bed.underlay.cut_ports(alone.number, [RAFT, GOSSIP])
    alone.until(lambda: alone.consul.get("/v1/kv/bed") is None, "it knows no leader")
    bed.heal()
    alone.until(lambda: alone.consul.get("/v1/kv/bed"), "it is back")
    alone.consul.run("kv", "delete", "bed")
