"""What stands in Consul, what is told of the nodes, and that nothing stays behind."""

from __future__ import annotations

import re

from tests.cluster.harness.bed import Bed
from tests.cluster.harness.shop import RULE, SPANNING

ADDRESS = r"[0-9a-f.:]+/\d+"
NODE = r"[abc]"

LAYOUT = (
    r"identities/id/\d+",
    r"identities/value/[0-9a-f]{64}",
    rf"identities/refs/{NODE}/\d+",
    r"identities/last",
    rf"nodes/{NODE}",
    rf"sessions/{NODE}",
    rf"ips/{NODE}/{ADDRESS}",
    r"networks/[\w.-]+",
    rf"pools/{NODE}/{ADDRESS}",
    rf"slices/{ADDRESS}",
    r"policies/[\w.-]+",
    r"lock/[\w.-]+",
)


def test_every_key_is_of_the_documented_layout_and_those_of_containers_go_with_them(bed: Bed) -> None:
    a, b, c = bed.nodes
    bed.each(lambda node: node.network("shop", *SPANNING))
    bed.each(lambda node: node.start(f"web-{node.name}", "--network", "shop", "-l", "app=web"))
    bed.policy(RULE)
    addresses = {
        f"ips/{node.name}/{node.address(f'web-{node.name}', 'shop', version=version)}/{bits}"
        for node in bed.nodes
        for version, bits in ((4, 32), (6, 128))
    }
    a.until(lambda: addresses <= set(bed.stored()), "all addresses are published")
    keys = bed.stored()
    assert not [key for key in keys if not any(re.fullmatch(pattern, key) for pattern in LAYOUT)]
    assert {key for key in keys if key.startswith("nodes/")} == {f"nodes/{node.name}" for node in bed.nodes}
    numbers = {keys[key]["identity"] for key in addresses}
    assert len(numbers) == 1, "the same labels are the same identity on every node"
    assert {keys[key]["network"] for key in addresses} == {keys["networks/shop"]["id"]}
    shown = a.consul.run("kv", "get", "-recurse", "ciliate/").out
    assert f"ciliate/default/ips/{c.name}/" in shown

    bed.each(lambda node: node.remove(f"web-{node.name}"))
    a.until(lambda: not [key for key in bed.stored() if key.startswith("ips/")], "no address is left")
    assert len(b.consul.get("/v1/session/list")) == len(bed.nodes)


def test_a_start_writes_little(bed: Bed) -> None:
    a, _, _ = bed.nodes
    a.network("shop", *SPANNING)
    a.start("first", "--network", "shop", "-l", "app=web")
    a.until(lambda: [key for key in bed.stored() if key.startswith("ips/a/")], "it is published")
    before = _raft_index(bed)
    a.start("second", "--network", "shop", "-l", "app=web")
    a.until(lambda: len([key for key in bed.stored() if key.startswith("ips/a/")]) == 4, "it is published")
    assert _raft_index(bed) - before <= 4 + len(bed.nodes), (
        "at most 4 writes, and each node may renew its session"
    )


def _raft_index(bed: Bed) -> int:
    stats = bed.nodes[0].consul.get("/v1/agent/self")["Stats"]["raft"]
    return int(stats["last_log_index"])


def test_every_node_tells_of_all_nodes(bed: Bed) -> None:
    for node in bed.nodes:
        listed = node.ciliate("node", "list").out
        for other in bed.nodes:
            assert other.name in listed and other.ip in listed, f"{other} as {node} lists it"
        status = node.ciliate("status", check=False).out
        assert "consul" in status.lower() and f"{len(bed.nodes)} nodes" in status
