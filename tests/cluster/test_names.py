"""Names of containers resolve on all hosts of the network that they are on, and end with the container."""

from __future__ import annotations

from tests.cluster.harness.bed import Bed
from tests.cluster.harness.node import Node
from tests.docker.harness.world import FAR4

SPANNING = ("-o", "ciliate.network=shop", "--ipv6")
ASKS = ("--dns", FAR4, "--dns-option", "timeout:1", "--dns-option", "attempts:1")
"""So that any engine sends what it does not know by way of the container; nobody answers there."""


def resolved(node: Node, container: str, name: str) -> set[str]:
    """What the resolver in the container says."""
    asked = node.docker("exec", container, "python3", "/speaker.py", "resolve", name, check=False)
    return set(asked.out.split())


def test_a_container_is_called_the_same_on_every_host(bed: Bed) -> None:
    a, b, c = bed.nodes
    bed.each(lambda node: node.network("shop", *SPANNING))
    c.network("other", "-o", "ciliate.network=other")
    a.serve("web", "--network", "shop", "--network-alias", "www")
    b.caller("asker", "--network", "shop", *ASKS)
    c.caller("stranger", "--network", "other", *ASKS)
    addresses = {a.address("web", "shop"), a.address("web", "shop", version=6)}
    for name in ("web", "www", "WEB"):
        b.until(lambda name=name: resolved(b, "asker", name) == addresses, f"{name} is known")
    assert b.ask("asker", "tcp", "web", 80).startswith("web ")
    assert resolved(c, "stranger", "web") == set()

    a.remove("web")
    b.until(lambda: resolved(b, "asker", "web") == set(), "it is known no more")
