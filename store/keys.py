"""Every key of the cluster's store and what its value holds. Paths begin with the node's name where only that
node may write, because a shared store's access rules go by prefix."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any

from model.errors import InvalidInput
from model.labels import Labels
from model.network import IPAddress, IPNetwork
from store.codec import Codec, dump_labels, load_labels

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,252}")


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one cluster. Methods named in the plural give prefixes."""

    cluster: str = "default"

    @property
    def root(self) -> str:
        return f"ciliate/{name(self.cluster, 'cluster')}/"

    def identity(self, number: int) -> str:
        return f"{self.identities()}{number}"

    def identities(self) -> str:
        return f"{self.root}identities/id/"

    def identity_value(self, labels: Labels) -> str:
        text = json.dumps(dump_labels(labels), separators=(",", ":"))
        return f"{self.root}identities/value/{hashlib.sha256(text.encode()).hexdigest()}"

    def identity_reference(self, node: str, number: int) -> str:
        return f"{self.identity_references(node)}{number}"

    def identity_references(self, node: str | None = None) -> str:
        below = f"{name(node, 'node')}/" if node is not None else ""
        return f"{self.root}identities/refs/{below}"

    def identity_last(self) -> str:
        """The number given last: where the search for the next one begins, so that none is reused at once."""
        return f"{self.root}identities/last"

    def node(self, node: str) -> str:
        return f"{self.nodes()}{name(node, 'node')}"

    def session(self, node: str) -> str:
        """The key that a node's session holds for itself: no entry of the store, but what its writes are checked by."""
        return f"{self.root}sessions/{name(node, 'node')}"

    def nodes(self) -> str:
        return f"{self.root}nodes/"

    def ip(self, node: str, prefix: IPNetwork) -> str:
        return f"{self.ips(node)}{prefix}"

    def ips(self, node: str | None = None) -> str:
        below = f"{name(node, 'node')}/" if node is not None else ""
        return f"{self.root}ips/{below}"

    def network(self, network: str) -> str:
        return f"{self.networks()}{name(network, 'network')}"

    def networks(self) -> str:
        return f"{self.root}networks/"

    def pool(self, node: str, pool: IPNetwork) -> str:
        return f"{self.pools(node)}{pool}"

    def pools(self, node: str | None = None) -> str:
        below = f"{name(node, 'node')}/" if node is not None else ""
        return f"{self.root}pools/{below}"

    def slice(self, slice: IPNetwork) -> str:
        return f"{self.slices()}{slice}"

    def slices(self) -> str:
        return f"{self.root}slices/"

    def policy(self, policy: str) -> str:
        return f"{self.policies()}{name(policy, 'name')}"

    def policies(self) -> str:
        return f"{self.root}policies/"

    def lock(self, lock: str) -> str:
        return f"{self.root}lock/{name(lock, 'lock')}"


def name(text: str, path: str) -> str:
    """`text` itself, fit to be one step of a key; InvalidInput, naming the field `path`, if it is not."""
    if not _NAME.fullmatch(text):
        raise InvalidInput(
            f"{text!r} is no name",
            path=path,
            hint="letters, digits, '.', '_' and '-', beginning with a letter or digit, 253 at most",
        )
    return text


@dataclass(frozen=True, slots=True)
class IdentityRecord:
    """`condemned`: since when nobody has used it, in seconds since the epoch by the clock of who looked; 0: it is in
    use, as far as is known. Whoever takes it into use again lifts that; else it goes after a while."""

    labels: Labels
    condemned: int = 0


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A node. `addresses`: all that others may see it as; `tunnel`: where it takes packets for its containers.
    `slices`: what its containers have addresses of. `revision` grows with every change of its `ips`."""

    addresses: tuple[IPAddress, ...]
    tunnel: IPv4Address
    slices: tuple[IPNetwork, ...] = ()
    revision: int = 0


@dataclass(frozen=True, slots=True)
class IPRecord:
    """Who an address is: the identity, and the number of the network, ELSEWHERE for one of its host alone. `names`:
    what it is called in a network that spans nodes."""

    identity: int
    network: int
    names: tuple[str, ...] = ()


def _dump_identity(record: IdentityRecord) -> dict[str, Any]:
    members: dict[str, Any] = {"labels": dump_labels(record.labels)}
    return {**members, "condemned": record.condemned} if record.condemned else members


def _number(members: Mapping[str, Any], key: str) -> int:
    value = members[key]
    if type(value) is not int:
        raise ValueError(f"{key} is {value!r}")
    return value


@dataclass(frozen=True, slots=True)
class RulesRecord:
    """The rules of one set, as the API takes them. `origin`: who keeps this set, as it calls itself; empty: nobody.
    `audit`: it only reports."""

    rules: tuple[dict[str, Any], ...]
    origin: str = ""
    audit: bool = False


def _dump_rules(record: RulesRecord) -> dict[str, Any]:
    members: dict[str, Any] = {"rules": list(record.rules)}
    if record.origin:
        members["origin"] = record.origin
    if record.audit:
        members["audit"] = True
    return members


def _load_rules(members: Mapping[str, Any]) -> RulesRecord:
    rules = tuple(members["rules"])
    if not all(isinstance(rule, dict) for rule in rules):
        raise ValueError("rules are objects")
    return RulesRecord(rules, str(members.get("origin", "")), members.get("audit", False) is True)


IDENTITY: Codec[IdentityRecord] = Codec(
    _dump_identity,
    lambda members: IdentityRecord(load_labels(members["labels"]), int(members.get("condemned", 0))),
)
NUMBER: Codec[int] = Codec(lambda number: {"id": number}, lambda members: _number(members, "id"))
"""Of identities/value and identities/last: the identity. Of networks: the number of the network."""

MARK: Codec[None] = Codec(lambda _: {}, lambda members: None)
"""Of identities/refs: that it is there says all."""

NODE: Codec[NodeRecord] = Codec(
    lambda node: {
        "addresses": [str(address) for address in node.addresses],
        "tunnel": str(node.tunnel),
        "slices": [str(slice) for slice in node.slices],
        "revision": node.revision,
    },
    lambda members: NodeRecord(
        tuple(map(ip_address, members["addresses"])),
        IPv4Address(members["tunnel"]),
        tuple(map(ip_network, members["slices"])),
        _number(members, "revision"),
    ),
)
IP: Codec[IPRecord] = Codec(
    lambda ip: {
        "identity": ip.identity,
        "network": ip.network,
        **({"names": list(ip.names)} if ip.names else {}),
    },
    lambda members: IPRecord(
        _number(members, "identity"), _number(members, "network"), tuple(map(str, members.get("names", ())))
    ),
)
HOLDER: Codec[str] = Codec(lambda node: {"node": node}, lambda members: str(members["node"]))
"""Of slices, pools and locks: the node that holds it."""

RULES: Codec[RulesRecord] = Codec(_dump_rules, _load_rules)
"""Of policies."""
