"""Rules, identities and packets drawn at random, near the edges where engines like this go wrong.

A `Case` is a set of rules, and `packets_of` it are packets at their edges. `by_the_rules` asks the oracle; a `Node`
goes the way the agent goes: identities for the rules' prefixes, selections, each subject's map, the lookup."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from random import Random
from typing import Any

from hypothesis import strategies as st

from identity.cidr import CidrIdentities
from model.flow import Direction
from model.identity import Reserved
from model.labels import Labels
from model.network import IPAddress, IPNetwork
from policy.decide import Decision, decide
from policy.icmp import ICMP, ICMPV6, UNJUDGED
from policy.mapstate import PolicyEntry, PolicyKey, map_state
from policy.oracle import Verdict, verdict
from policy.ports import LAST_PORT
from policy.repository import Repository
from policy.resolve import Enforcement, resolve
from policy.rule import Rule
from policy.schema import load_rules
from policy.selections import Selections

Document = dict[str, Any]

RESERVED = {int(one): one.labels for one in Reserved if one is not Reserved.UNKNOWN}

CONTAINERS = {
    256 + number: Labels.parse(texts)
    for number, texts in enumerate(
        [
            ["container:app=web", "container:tier=front", "network:id=n1"],
            ["container:app=web", "opt:tier=back", "image:app=db", "network:id=n2"],
            ["container:app=db", "compose:project=shop", "compose:service=db", "network:id=n1"],
            ["container:app=web", "compose:project=shop", "compose:service=web", "network:id=n1"],
            ["container:app=db", "compose:project=shop", "compose:service=db", "network:id=n2"],
            ["image:app=web", "nomad:job=batch", "network:id=n1"],
            ["opt:app=web", "container:debug", "network:id=n3"],
            ["network:id=n2"],
        ]
    )
}

SOURCELESS = {name.partition(":")[2] for labels in CONTAINERS.values() for name in labels.texts()}
PAIRS = sorted(
    {tuple(text.partition("=")[::2]) for labels in CONTAINERS.values() for text in labels.texts()}
    | {tuple(text.partition("=")[::2]) for text in SOURCELESS}
)
"""(name, value) of each label that a container has, and the same without their sources."""

VALUES = sorted({value for _, value in PAIRS})
PREFIXES = ["10.0.0.0/8", "10.96.0.0/12", "10.96.0.1/32", "10.96.0.0/31", "192.0.2.0/24", "0.0.0.0/0",
            "2001:db8::/32", "2001:db8:1::/48", "::/0"]  # fmt: skip
ENTITIES = ["all", "world", "world-ipv4", "world-ipv6", "host", "remote-node", "cluster", "init", "health",
            "unmanaged", "none"]  # fmt: skip
EDGES = [0, 1, 2, 53, 79, 80, 81, 1023, 1024, 1025, 8191, 8192, 32767, 32768, 65534, 65535]
TYPES = [0, 3, 8, 13, 128, 129, 255]


@st.composite
def selectors(draw: st.DrawFn) -> Document:
    """Each name once, so that no two requirements contradict each other."""
    pairs = draw(st.lists(st.sampled_from(PAIRS), max_size=2, unique_by=lambda pair: pair[0]))
    labels, expressions = {}, []
    for name, value in pairs:
        operator = draw(st.sampled_from([None, None, "In", "NotIn", "Exists", "DoesNotExist"]))
        values = sorted({value, draw(st.sampled_from(VALUES))})
        if operator is None:
            labels[name] = value
        elif operator in ("In", "NotIn"):
            expressions.append({"key": name, "operator": operator, "values": values})
        else:
            expressions.append({"key": name, "operator": operator})
    selector: Document = {}
    if labels or draw(st.booleans()):
        selector["matchLabels"] = labels
    if expressions:
        selector["matchExpressions"] = expressions
    return selector


@st.composite
def cidr_sets(draw: st.DrawFn) -> Document:
    whole = ip_network(draw(st.sampled_from(PREFIXES)))
    inside = [text for text in PREFIXES if text != str(whole) and lies_in(ip_network(text), whole)]
    found: Document = {"cidr": str(whole)}
    if inside:
        found["except"] = draw(st.lists(st.sampled_from(inside), max_size=2, unique=True))
    return found


def lies_in(inner: IPNetwork, outer: IPNetwork) -> bool:
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]


@st.composite
def ports(draw: st.DrawFn) -> Document:
    first = draw(st.sampled_from(EDGES))
    found: Document = {"port": str(first)}
    if first and draw(st.booleans()):
        found["endPort"] = draw(st.sampled_from([port for port in EDGES if port >= first]))
    protocol = draw(st.sampled_from(["TCP", "UDP", "SCTP", "ANY", "", None, "tcp"]))
    if protocol is not None:
        found["protocol"] = protocol
    return found


def icmp_fields(*, denied: bool) -> st.SearchStrategy[Document]:
    """In a denial, of types that rules are asked about only."""
    types = {
        protocol: [kind for kind in TYPES if not denied or kind not in UNJUDGED[protocol]]
        for protocol in (ICMP, ICMPV6)
    }
    return st.one_of(
        st.sampled_from(types[ICMP]).map(lambda kind: {"type": kind}),
        st.sampled_from(types[ICMPV6]).map(lambda kind: {"type": kind, "family": "IPv6"}),
        st.sampled_from(["EchoRequest", "EchoReply"]).map(lambda kind: {"type": kind, "family": "IPv6"}),
    )


often = st.sampled_from([1, 1, 1, 1, 1, 1, 1, 0])
"""A least length: lists are seldom empty."""

PEERS: Mapping[str, st.SearchStrategy[Any]] = {
    "Endpoints": selectors(),
    "Entities": st.sampled_from(ENTITIES),
    "CIDR": st.sampled_from(PREFIXES),
    "CIDRSet": cidr_sets(),
}


@st.composite
def elements(draw: st.DrawFn, name: str) -> Document:
    """Of the list with this name in a rule."""
    found: Document = {}
    way, denied = ("from" if name.startswith("ingress") else "to"), name.endswith("Deny")
    kind = draw(st.sampled_from([*PEERS, None]))
    if kind:
        found[way + kind] = draw(st.lists(PEERS[kind], min_size=draw(often), max_size=2))
    empty = draw(st.sampled_from([None] * 16 + [*PEERS]))
    if empty and empty != kind:
        found[way + empty] = draw(st.sampled_from([None, []]))
    limit = draw(st.sampled_from(["toPorts", "toPorts", "icmps", None]))
    if limit == "toPorts":
        some = st.lists(ports(), min_size=draw(often), max_size=3).map(lambda listed: {"ports": listed})
        found["toPorts"] = draw(st.lists(st.one_of(some, some, st.just({})), max_size=2))
    elif limit == "icmps":
        found["icmps"] = [
            {"fields": draw(st.lists(icmp_fields(denied=denied), min_size=draw(often), max_size=2))}
        ]
    if (kind == "Endpoints" or not found) and draw(st.sampled_from([False] * 3 + [True])):
        found[way + "Requires"] = draw(st.lists(selectors(), min_size=draw(often), max_size=2))
    return found


OPPOSITE = {
    "ingress": "ingressDeny",
    "ingressDeny": "ingress",
    "egress": "egressDeny",
    "egressDeny": "egress",
}


@st.composite
def others_like(draw: st.DrawFn, listed: list[Document]) -> list[Document]:
    """About the same peers at other ports, so that allow and deny meet."""
    found = []
    for element in listed:
        others = ("toPorts", "icmps", "fromRequires", "toRequires")
        peers = {name: value for name, value in element.items() if name not in others}
        found.append(
            peers | draw(st.sampled_from([{}, {"toPorts": [{"ports": draw(st.lists(ports(), max_size=2))}]}]))
        )
    return found


@st.composite
def documents(draw: st.DrawFn) -> Document:
    chosen = draw(st.lists(st.sampled_from(sorted(OPPOSITE)), min_size=1, max_size=2, unique=True))
    rule: Document = {"endpointSelector": draw(st.one_of(st.just({}), selectors()))}
    rule |= {name: draw(st.lists(elements(name), min_size=draw(often), max_size=2)) for name in chosen}
    for name in [name for name in chosen if draw(st.sampled_from([False, False, True]))]:
        rule.setdefault(OPPOSITE[name], []).extend(draw(others_like(rule[name])))
    if draw(st.sampled_from([False, False, True])):
        rule["enableDefaultDeny"] = {
            "ingress": draw(st.sampled_from([None, True, False])),
            "egress": draw(st.sampled_from([None, True, False])),
        }
    return rule


@dataclass(frozen=True)
class Packet:
    """`peer`: the number of an identity, or an address of the world."""

    subject: int
    peer: int | str
    direction: Direction
    protocol: int
    port: int


SUBJECTS = [*CONTAINERS, int(Reserved.INIT)]

PACKETS = 200


@dataclass(frozen=True)
class Case:
    """`audited`: rules of a set that only reports. `seed`: which packets."""

    rules: tuple[Document, ...]
    mode: Enforcement = Enforcement.DEFAULT
    seed: int = 0
    audited: tuple[Document, ...] = ()

    def repository(self) -> Repository:
        audited = load_rules(list(self.audited))
        return Repository().add(load_rules(list(self.rules))).set_named("tried", audited, audit=True)


@st.composite
def audited_sets(draw: st.DrawFn, rules: tuple[Document, ...]) -> tuple[Document, ...]:
    """Any rules, and what denies where the others allow, or the other way round."""
    against = [
        {
            "endpointSelector": rule["endpointSelector"],
            **{OPPOSITE[name]: draw(others_like(rule[name])) for name in sorted(OPPOSITE) if rule.get(name)},
        }
        for rule in rules
        if draw(st.booleans()) and any(rule.get(name) for name in OPPOSITE)
    ]
    return (*draw(st.lists(documents(), max_size=2)), *against)


@st.composite
def drawn_cases(draw: st.DrawFn) -> Case:
    """A third of them has an audited set."""
    rules = tuple(draw(st.lists(documents(), min_size=draw(often), max_size=4)))
    mode = draw(st.sampled_from([Enforcement.DEFAULT] * 5 + [*Enforcement]))
    audited = draw(audited_sets(rules)) if draw(st.sampled_from([False, False, True])) else ()
    return Case(rules, mode, draw(st.integers(0, 99)), audited)


cases = drawn_cases()


def packets_of(case: Case, count: int = PACKETS) -> list[Packet]:
    """To and from whom the rules may speak of, at and beside the ports and addresses that they name."""
    chance = Random(case.seed)
    text = json.dumps(case.rules + case.audited)
    ends = {int(number) for number in re.findall(r'(?:"port": "|"endPort": |"type": )(\d+)', text)}
    beside = {end + step for end in ends for step in (-1, 0, 1)}
    places = sorted({0, 8, 128} | {place for place in beside if 0 <= place <= LAST_PORT})
    prefixes = [ip_network(prefix) for prefix in PREFIXES if f'"{prefix}"' in text] + [
        ip_network("203.0.113.0/24")
    ]
    peers: list[int | str] = [*(set(RESERVED) - {int(Reserved.WORLD)})]
    return [
        Packet(
            chance.choice(SUBJECTS),
            chance.choice(
                [chance.choice([*CONTAINERS]), chance.choice(peers), edge(chance.choice(prefixes), chance)]
            ),
            chance.choice(list(Direction)),
            chance.choice([1, 6, 6, 6, 17, 17, 58, 132]),
            chance.choice(places),
        )
        for _ in range(count)
    ]


def edge(prefix: IPNetwork, chance: Random) -> str:
    """The first or last address of a prefix, or its neighbour."""
    number = int(chance.choice([prefix.network_address, prefix.broadcast_address])) + chance.choice(
        [-1, 0, 1]
    )
    last = (1 << prefix.max_prefixlen) - 1
    return str(type(prefix.network_address)(max(0, min(number, last))))


def by_the_rules(rules: Sequence[Rule], case: Case, packet: Packet) -> Verdict:
    return verdict(
        rules,
        case.mode,
        labels_of(packet.subject),
        labels_of(packet.peer),
        packet.direction,
        packet.protocol,
        packet.port,
    )


def labels_of(party: int | str) -> Labels:
    """An address of the world by itself, as if each had an identity of its own."""
    if isinstance(party, int):
        return (RESERVED | CONTAINERS)[party]
    world = Reserved.WORLD_IPV4 if ip_address(party).version == 4 else Reserved.WORLD_IPV6
    return world.labels | Labels.parse([f"cidr:{ip_network(party)}"])


Maps = Mapping[int, Mapping[PolicyKey, PolicyEntry]]


@dataclass(frozen=True)
class Node:
    """What a node knows: each subject's map, and whose an address is."""

    maps: Maps
    cidrs: CidrIdentities

    def judge(self, packet: Packet) -> Decision:
        number = packet.peer if isinstance(packet.peer, int) else self.number_of(ip_address(packet.peer))
        return decide(self.maps[packet.subject], number, packet.direction, packet.protocol, packet.port)

    def number_of(self, address: IPAddress) -> int:
        """The longest prefix that has an identity."""
        holding = [prefix for prefix, _ in self.cidrs.items() if address in prefix]
        if holding:
            return self.cidrs.number(max(holding, key=lambda prefix: prefix.prefixlen))
        return int(Reserved.WORLD_IPV4 if address.version == 4 else Reserved.WORLD_IPV6)


def node_of(case: Case, containers: Mapping[int, Labels] = CONTAINERS) -> Node:
    repository = case.repository()
    wanted = {
        prefix
        for rule in repository.rules()
        for selector in rule.cidr_selectors()
        for prefix in selector.prefixes()
    }
    cidrs, added, _ = CidrIdentities().with_prefixes(wanted)
    selections = Selections().with_identities({**RESERVED, **containers, **added})
    subjects = {number: (RESERVED | containers)[number] for number in SUBJECTS}
    policies = {number: resolve(repository, labels, mode=case.mode) for number, labels in subjects.items()}
    selections = selections.only(selector for policy in policies.values() for selector in policy.selectors)
    maps = {number: map_state(policy, selections.select) for number, policy in policies.items()}
    return Node(maps, cidrs)


def outcome(decision: Decision) -> Verdict:
    if decision.audited:
        return Verdict.AUDITED_BY_RULE if decision.deny_rule else Verdict.AUDITED
    if decision.allowed:
        return Verdict.ALLOWED
    return Verdict.DENIED_BY_RULE if decision.deny_rule else Verdict.DENIED


def disagreement(case: Case, make: Callable[[Case], Node] = node_of) -> Packet | None:
    """The first packet that rules and maps judge differently."""
    rules, node = case.repository().rules(), make(case)
    for packet in packets_of(case):
        if by_the_rules(rules, case, packet) is not outcome(node.judge(packet)):
            return packet
    return None
