"""PURE. Whom a text means, when somebody asks about a packet from one to another.

    web, 12, container-id:3f…                 an endpoint, as `ciliate endpoint` takes it
    identity:256                              whoever has this identity
    10.200.0.7, 192.0.2.1, 2001:db8::1        whoever has this address
    host, world, unmanaged, init, …           what is no container of ours
    role=client,compose:service=db            the identity with these labels; if there is none or several, a
                                              container that would have exactly these

Names of DNS are not resolved here: who asks does that."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network

from agent.state import RESERVED, State, Subject
from agent.views import find_endpoints
from datapath.tables import IpcacheEntry
from identity.cidr import WORLDS
from model.endpoint import Endpoint
from model.errors import CiliateError, Conflict, InvalidInput, NotFound
from model.identity import CLUSTER_LAST, Reserved, is_cluster
from model.labels import MADE_BY_CILIATE, SOURCES, Label, Labels
from model.network import FLAT, FLAT_ID, IPAddress, Network
from policy.selector import LabelSelector, Selector
from policy.separation import End

NEW = CLUSTER_LAST + 1
"""Stands for an identity that nobody has yet; no number that is ever given."""

_DERIVED = frozenset({"network", "compose", "nomad"})
"""Sources of ciliate's own that labels may be asked about by."""


@dataclass(frozen=True, slots=True)
class Party:
    """`identity` 0: an address of ours that nobody has. `note`: what was assumed; empty if nothing."""

    given: str
    name: str
    identity: int
    labels: Labels
    endpoint: Endpoint | None = None
    network: Network | None = None
    note: str = ""
    address: IPAddress | None = None
    """That it was asked for by."""

    @property
    def end(self) -> End:
        return End(self.identity, self.network)

    @property
    def has_rules(self) -> bool:
        """Containers have, and those whose labels are not known yet; the host, the world and others have none."""
        return is_cluster(self.identity) or self.identity in (NEW, Reserved.INIT)

    def subject(self, state: State) -> Subject | None:
        """Its policy, if an endpoint of this node has this identity."""
        return state.subjects.get(self.identity)

    def is_audited(self, state: State) -> bool:
        """Whether what its policy denies passes. Of several endpoints that it may be, that has to be so for all."""
        own = (
            [self.endpoint]
            if self.endpoint
            else [endpoint for endpoint in state.endpoints.values() if endpoint.identity == self.identity]
        )
        return state.audit or (bool(own) and all(endpoint.audit for endpoint in own))


def find_pair(state: State, source: str, destination: str) -> tuple[Party, Party]:
    """A container that sits in several networks is met in the one that both share. Raises NotFound, InvalidInput;
    Conflict if a text still means several."""
    sources, destinations = _find_at(state, source, "src"), _find_at(state, destination, "dst")
    pairs = [(one, other) for one in sources for other in destinations]
    shared = [pair for pair in pairs if _share_a_network(*pair)]
    if len(pairs) > 1 and len(shared) == 1:
        pairs = shared
    if len(pairs) > 1:
        many, path = (sources, "src") if len(sources) > 1 else (destinations, "dst")
        numbers = ", ".join(map(str, sorted(one.endpoint.id for one in many if one.endpoint)))
        raise Conflict(
            f"{many[0].given!r} means {len(many)} endpoints",
            path=path,
            hint=f"name one by its number: {numbers}",
        )
    one, other = pairs[0]
    return _settled(state, one, other.network), _settled(state, other, one.network)


def _share_a_network(one: Party, other: Party) -> bool:
    return (
        one.network is not None and other.network is not None and one.network.number == other.network.number
    )


def _find_at(state: State, text: str, path: str) -> Sequence[Party]:
    try:
        return _find(state, text)
    except CiliateError as error:
        error.path = path
        raise


def _find(state: State, text: str) -> Sequence[Party]:
    kind, colon, value = text.partition(":")
    if kind == "identity" and colon:
        return [_by_identity(state, text, value)]
    if kind in ("ipv4", "ipv6") and colon:
        text = value
    try:
        return [_by_address(state, text, ip_address(text))]
    except ValueError:
        pass
    if "=" in text or (colon and kind in SOURCES):
        return [_by_labels(text)]
    endpoints = find_endpoints(state, text)
    if endpoints:
        return [_party(state, text, endpoint) for endpoint in endpoints]
    known = _by_name(text)
    if known is None:
        raise NotFound(
            f"nobody is called {text!r}",
            hint="name a container, an endpoint's number, an address, identity:NUMBER, labels (role=web), or "
            + ", ".join(sorted(_NAMES)),
        )
    return [known]


def _party(state: State, given: str, endpoint: Endpoint) -> Party:
    network = state.networks.get(endpoint.network_id)
    name = endpoint.container_name or f"endpoint {endpoint.id}"
    note = (
        _of_image_only(state, endpoint)
        if endpoint.ifindex
        else "it does not run: this is as it would be without labels"
    )
    labels = RESERVED.get(endpoint.identity, endpoint.labels)
    return Party(given, name, endpoint.identity, labels, endpoint, network, note)


def _of_image_only(state: State, endpoint: Endpoint) -> str:
    """Whoever reads that a label is missing may see it on the container all the same."""
    said = [label for label in endpoint.info_labels if label.source == "image"]
    asked = {key for selector in (state.selections.chosen if said else ()) for key in _keys(selector)}
    texts = [f"{label.key}={label.value}" for label in said if label.key in asked]
    if not texts:
        return ""
    return f"{', '.join(texts)} is its image's word, which no rule believes: give the container that label"


def _keys(selector: Selector) -> Iterable[str]:
    return (one.key for one in selector.requirements) if isinstance(selector, LabelSelector) else ()


def _by_identity(state: State, given: str, value: str) -> Party:
    number = int(value) if value.isascii() and value.isdecimal() and len(value) < 10 else -1
    labels = state.known_identities().get(number)
    if labels is None:
        raise NotFound(f"no identity {value!r}", hint="see `ciliate identity list`")
    return _known(state, given, f"identity {number}", number, labels)


def _by_address(state: State, given: str, address: IPAddress) -> Party:
    for endpoint in state.endpoints.values():
        if address in endpoint.addresses and endpoint.ifindex:
            return replace(_party(state, given, endpoint), address=address)
    entry = _lookup(state, address)
    number = int(WORLDS[address.version]) if entry is None else entry.identity
    if not number:
        note = "an address of ours that nobody has"
        return Party(given, str(address), 0, Labels(), note=note, address=address)
    labels = state.known_identities().get(number, Labels())
    there = [
        name for name, node in state.nodes.items() if entry and entry.tunnel and node.tunnel == entry.tunnel
    ]
    note = f"of node {there[0]}" if there else ""
    return replace(_known(state, given, str(address), number, labels), address=address, note=note)


def _lookup(state: State, address: IPAddress) -> IpcacheEntry | None:
    """The longest prefix that says who it is, as in the kernel."""
    for length in range(address.max_prefixlen, -1, -1):
        owners = state.ipcache.claims.get(ip_network((address, length), strict=False))
        if owners is not None:
            return owners[min(owners)]
    return None


def _by_labels(text: str) -> Party:
    labels = Labels.parse(filter(None, text.split(",")), default_source="container")
    for label in labels:
        if label.source == "reserved" and len(labels) == 1 and label.key in _NAMES:
            return _NAMES[label.key]
        if label.source in MADE_BY_CILIATE - _DERIVED:
            raise InvalidInput(
                f"{str(label)!r} is no label of a container",
                hint="write an address, or the entity's name",
            )
    return Party(text, text, NEW, labels)


def _settled(state: State, party: Party, others: Network | None) -> Party:
    """Labels, as somebody's: of the network that they name, or of the other's."""
    if party.identity != NEW:
        return party
    labels, note = party.labels, ""
    if labels.get("network", "id") is None and others is not None:
        labels |= Labels([Label("network", "id", others.id)])
        note = f"taken to be on network {others.name or others.id[:12]} too. "
    having = {
        number: found
        for number, found in state.known_identities().items()
        if is_cluster(number) and all(label in found for label in labels)
    }
    exact = [number for number, found in having.items() if found == labels] or list(having)
    if len(exact) == 1:
        return _known(state, party.given, party.name, exact[0], having[exact[0]])
    note += (
        "No endpoint here has these labels" if not exact else f"{len(exact)} identities have these and more"
    )
    network = _network_of(state, labels)
    return Party(
        party.given, party.name, NEW, labels, None, network, f"{note}: this is a container with exactly these"
    )


def end_of(state: State, number: int, labels: Labels) -> End:
    """Where an identity is."""
    return End(number, _network_of(state, labels))


def _known(state: State, given: str, name: str, number: int, labels: Labels) -> Party:
    return Party(given, name, number, labels, None, _network_of(state, labels))


def _network_of(state: State, labels: Labels) -> Network | None:
    """Of one that this host does not have, what is known: that it is no other."""
    label = labels.get("network", "id")
    if label is None:
        return None
    own = next((network for network in state.networks.values() if network.id == label.value), None)
    if own is not None:
        return own
    is_flat = label.value == FLAT_ID
    number = FLAT if is_flat else -int.from_bytes(label.value.encode(), "big")
    return Network(label.value, label.value, number, (), flat=is_flat)


def _by_name(text: str) -> Party | None:
    return _NAMES.get(text)


_NAMES = {
    reserved.label.key: Party(reserved.label.key, reserved.label.key, int(reserved), reserved.labels)
    for reserved in Reserved
    if reserved not in (Reserved.UNKNOWN, Reserved.WORLD)
}
_NAMES["world"] = Party(
    "world",
    "world",
    int(Reserved.WORLD_IPV4),
    Reserved.WORLD_IPV4.labels,
    note="an IPv4 address that no rule names",
)
