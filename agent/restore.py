"""The state as it was, rebuilt from records, and the kernel made to agree with it.

Forwarding and policy went on while the agent was away. Nothing is taken from the kernel but two facts: which slot
an identity had, because the entries there still point to it, and which number a rule's prefix had, because whose number
changes is denied until all is put right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

import structlog
from immutables import Map

from agent.desired import desired, diff, realized
from agent.events import EndpointPut, Event, HostChanged, NetworkPut, PeersSynced, PolicyResolved
from agent.operations import realize
from agent.resolution import resolve_all
from agent.settings import Settings
from agent.slots import Slots
from agent.state import RESERVED, State
from agent.step import begin, step
from agent.stored_rules import Found, last_rules
from datapath.tables import Datapath, IpcacheEntry
from driver.hostfacts import HostFacts
from identity.cidr import CidrIdentities, labels_of
from identity.ipcache import Ipcache, Owner
from model.endpoint import Endpoint, EndpointState
from model.errors import CiliateError, Exhausted, Unavailable
from model.identity import Reserved, is_cluster, is_local
from model.labels import Labels
from model.network import LOCAL_FIRST_NUMBER, IPNetwork, Network
from policy.repository import Repository
from policy.resolve import Enforcement
from policy.selections import Selections
from store.identities import IdentityAllocator
from store.local import LocalStore
from store.policies import PolicyStore

log = structlog.get_logger("restore")


@dataclass(frozen=True, slots=True)
class Numbers:
    """`slots`: identity -> slot, where the kernel is clear about it. `pointed`: every slot that any entry points to:
    none of them may get another's policy before those entries are put right. `prefixes`: prefix -> identity."""

    slots: Mapping[int, int]
    pointed: frozenset[int]
    prefixes: Mapping[IPNetwork, int]


def known_numbers(datapath: Datapath) -> Numbers:
    """Where two identities claim one slot, or one identity has two, none of it is believed; nor where two prefixes have
    one identity."""
    claims = {(entry.identity, entry.policy) for _, entry in datapath.endpoints.items() if entry.policy}
    addresses = dict(datapath.ipcache.items())
    pointed = {entry.policy for entry in addresses.values() if entry.policy}
    pointed.update(slot for _, slot in claims)
    identities, slots = Counter(identity for identity, _ in claims), Counter(slot for _, slot in claims)
    clear = {identity: slot for identity, slot in claims if identities[identity] == slots[slot] == 1}
    prefixes = {prefix: entry.identity for prefix, entry in addresses.items() if is_local(entry.identity)}
    uses = Counter(prefixes.values())
    return Numbers(
        clear,
        frozenset(pointed),
        {prefix: number for prefix, number in prefixes.items() if uses[number] == 1},
    )


def numbered_networks(records: LocalStore, number: Callable[[str], int]) -> dict[str, Network]:
    """The recorded networks. One that spans hosts has the number that all have for it (`number`), as far as the store
    tells; one of this host alone has none that could be such a one's. The records follow."""
    networks = records.networks()
    free = max([LOCAL_FIRST_NUMBER - 1, *(network.number for network in networks.values())]) + 1
    for docker_id, network in list(networks.items()):
        right = network.number
        if network.spans_hosts:
            try:
                right = number(network.id)
            except Unavailable as error:
                log.warning("a network keeps the number it had", network=network.id, reason=str(error))
        elif not network.flat and network.number < LOCAL_FIRST_NUMBER:
            right, free = free, free + 1
        if right != network.number:
            networks[docker_id] = replace(network, number=right)
            records.put_network(networks[docker_id])
    return networks


def living_endpoints(
    records: LocalStore,
    networks: Mapping[str, Network],
    present: Mapping[str, int],
    identities: IdentityAllocator,
) -> list[Endpoint]:
    """The recorded endpoints, each with the identity that its labels have in the store, and that counted; where the
    store does not answer, with the one it had. `present`: our interfaces, name -> ifindex; after the host's own restart
    there is none of those recorded, and their numbers are others'. What makes no sense any more is put right in the
    records too."""
    endpoints = []
    for recorded in records.endpoints().values():
        endpoint = recorded
        if endpoint.network_id not in networks:
            log.warning("the record of an endpoint without a network is removed", endpoint=endpoint.docker_id)
            records.remove_endpoint(endpoint.docker_id)
            continue
        if endpoint.ifindex and present.get(endpoint.ifname) != endpoint.ifindex:
            endpoint = endpoint.unlinked()
        elif is_cluster(endpoint.identity):
            try:
                endpoint = replace(endpoint, identity=_identified(endpoint, identities))
            except CiliateError as error:
                log.warning(
                    "an endpoint waits for an identity", endpoint=endpoint.docker_id, reason=str(error)
                )
                endpoint = replace(
                    endpoint,
                    identity=int(Reserved.INIT),
                    labels=Labels(),
                    state=EndpointState.WAITING_FOR_LABELS,
                )
        if endpoint != recorded:
            records.put_endpoint(endpoint)
        endpoints.append(endpoint)
    return endpoints


def _identified(endpoint: Endpoint, identities: IdentityAllocator) -> int:
    try:
        return identities.allocate(endpoint.labels)
    except Unavailable:
        identities.adopt(endpoint.identity, endpoint.labels)
        return endpoint.identity


def restored_state(
    settings: Settings,
    networks: Collection[Network],
    endpoints: Collection[Endpoint],
    repository: Repository,
    host: HostFacts,
    known: Numbers,
    peers: PeersSynced | None = None,
) -> State:
    """An endpoint that the state refuses is left out, and said so in the log. `peers`: the other nodes as they were
    known last."""
    labels = {number: labels_of(prefix) for prefix, number in known.prefixes.items()}
    addresses: Ipcache[IpcacheEntry] = Ipcache()
    addresses, _ = addresses.put_many(
        Owner.CIDR, {prefix: IpcacheEntry(number) for prefix, number in known.prefixes.items()}
    )
    state = State(
        enforcement=Enforcement(settings.policy_enforcement),
        audit=settings.policy_audit,
        selections=Selections(identities=Map(RESERVED | labels)),
        cidrs=CidrIdentities(Map(known.prefixes)),
        ipcache=addresses,
        slots=Slots.without(known.pointed),
        remembered=Map(known.slots),
    )
    state = begin(state, (settings.pool, settings.pool6))
    state, _ = step(state, HostChanged(host))
    state, _ = step(state, PolicyResolved(resolve_all(state, repository)))
    events: list[Event] = [*map(NetworkPut, networks), *map(EndpointPut, endpoints)]
    if peers is not None:
        events.append(peers)
    for event in events:
        try:
            state, _ = step(state, event)
        except CiliateError as error:
            log.warning("a record is left out", reason=str(error))
    freed = state.slots
    for slot in known.pointed - {subject.slot for subject in state.subjects.values()}:
        freed = freed.give_back(slot)
    return replace(state, slots=freed, remembered=Map())


def restore(
    datapath: Datapath, build: Callable[[Repository], State], found: Found, last: PolicyStore
) -> tuple[State, Found]:
    """Brings a state with the rules found into force; where they do not fit into the kernel, with those that were
    in force last. `build` makes the state for rules. Answers what is in force."""
    try:
        state = build(found.repository)
        repair(datapath, state)
    except Exhausted as error:
        fitting = None if found.problem else last_rules(last, str(error))
        if fitting is None:
            raise
        log.error("the newest rules do not fit into the kernel", error=str(error))
        state, found = build(fitting.repository), fitting
        repair(datapath, state)
    return state, found


def repair(datapath: Datapath, state: State) -> None:
    """Make the kernel hold what the state says, whatever it holds now."""
    operations = diff(desired(state), realized(datapath, state.slots.fresh))
    if operations:
        log.info("the kernel is put right", operations=len(operations))
    realize(datapath, operations)
