"""PURE. One event changes the state and says what the kernel has to do for it.

The cost is that of what the event touches: a container whose labels are known already costs an endpoint entry
and its addresses, whatever else exists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import accumulate

from agent.acquaintance import by_policy, dismiss, introduce
from agent.addressing import address_operations, readdress
from agent.entries import address_entry, endpoint_entry
from agent.events import (
    AuditSet,
    EndpointPut,
    EndpointRemoved,
    Event,
    HostChanged,
    NetworkPut,
    NetworkRemoved,
    PeersChanged,
    PeersSynced,
    PolicyResolved,
    SlotsWanted,
)
from agent.operations import (
    BumpEpoch,
    DeleteDevices,
    DeleteEndpoint,
    EditPolicies,
    Operation,
    PutDevices,
    PutEndpoint,
    ReleasePolicy,
    ReplacePolicies,
    SharePolicy,
)
from agent.remote import change_peers, disown, sync_peers
from agent.resolution import Resolution, with_prefixes
from agent.slots import LAST_SLOT
from agent.state import RESERVED, State, Subject, mode_of
from datapath.tables import DeviceClass, IpcacheEntry
from driver.hostfacts import HostFacts
from identity.ipcache import Owner
from model.endpoint import Endpoint
from model.errors import Conflict, NotFound
from model.labels import Labels
from model.network import IPNetwork, Network
from policy.mapstate import MapState, identity_delta, map_state
from policy.resolve import SubjectPolicy, resolve
from policy.selections import Selections

Step = tuple[State, list[Operation]]

SPARE_SLOTS = 64
"""Empty policy maps kept ready: publishing one waits until no program uses what was there, 8-16 ms, which no
container's start should pay."""

SHARED_FROM = 512
"""Entries from which on a newcomer waits for that rather than have a copy of the map of its like."""


def begin(state: State, pools: tuple[IPNetwork, ...]) -> State:
    """A state in which addresses of these pools are known to be ours, and nobody's yet."""
    after, _ = readdress(state, replace(state, pools=pools))
    return after


def step(state: State, event: Event) -> Step:
    """Raises CiliateError where the state does not allow the event."""
    after, operations = _advance(state, event)
    if BumpEpoch() in operations:
        # After all else: a flow that is judged anew in between must be judged anew once more.
        operations = [operation for operation in operations if operation != BumpEpoch()]
        operations.append(BumpEpoch())
    return after, operations


def _advance(state: State, event: Event) -> Step:
    match event:
        case NetworkPut(network):
            return _put_network(state, network)
        case NetworkRemoved(docker_id):
            return _remove_network(state, docker_id)
        case EndpointPut(endpoint):
            return _put_endpoint(state, endpoint)
        case EndpointRemoved(docker_id):
            return _remove_endpoint(state, docker_id)
        case PolicyResolved():
            return _take_policy(state, event)
        case AuditSet(audit):
            return _set_audit(state, audit)
        case HostChanged(host):
            return _change_host(state, host)
        case SlotsWanted():
            return _prepare_slots(state)
        case PeersChanged():
            return change_peers(state, event)
        case PeersSynced():
            return sync_peers(state, event)


def _put_network(state: State, network: Network) -> Step:
    """Its pools are unknown until an endpoint has an address of them; its gateways are the host."""
    after = replace(state, networks=state.networks.set(network.docker_id, network))
    return readdress(state, after)


def _remove_network(state: State, docker_id: str) -> Step:
    if docker_id not in state.networks:
        return state, []
    living = [found for found in state.endpoints.values() if found.network_id == docker_id]
    if living:
        raise Conflict(
            f"the network still has {len(living)} endpoints",
            hint="stop its containers: " + ", ".join(found.container_name for found in living[:5]),
        )
    after = replace(state, networks=state.networks.delete(docker_id))
    return readdress(state, after)


def _change_host(state: State, host: HostFacts) -> Step:
    after, operations = readdress(state, replace(state, host=host))
    devices = {index: int(DeviceClass.UPLINK) for index in host.uplinks if index not in state.host.uplinks}
    gone = tuple(index for index in state.host.uplinks if index not in host.uplinks)
    if devices:
        operations.append(PutDevices(devices))
    if gone:
        operations.append(DeleteDevices(gone))
    if devices or gone:
        operations.append(BumpEpoch())
    return after, operations


def _set_audit(state: State, audit: bool) -> Step:
    if audit is state.audit:
        return state, []
    after = replace(state, audit=audit)
    operations: list[Operation] = []
    addresses: dict[IPNetwork, IpcacheEntry] = {}
    for endpoint in state.endpoints.values():
        if endpoint.ifindex:
            network, slot = state.networks[endpoint.network_id], state.subjects[endpoint.identity].slot
            entry = endpoint_entry(endpoint, network, slot, audit=audit)
            operations.append(PutEndpoint(endpoint.ifindex, entry))
            address = address_entry(endpoint, network, slot, audit=audit)
            addresses |= dict.fromkeys(endpoint.prefixes, address)
    ipcache, changes = state.ipcache.put_many(Owner.ENDPOINT, addresses)
    return replace(after, ipcache=ipcache), [*operations, *address_operations(changes)]


def _put_endpoint(state: State, endpoint: Endpoint) -> Step:
    network = state.networks.get(endpoint.network_id)
    if network is None:
        raise NotFound(
            f"no network {endpoint.network_id[:12]}",
            hint="it was made while ciliate was not there, or its state was lost: remove and create it again",
        )
    before = state.endpoints.get(endpoint.docker_id)
    state = replace(state, endpoints=state.endpoints.set(endpoint.docker_id, endpoint))
    if not endpoint.ifindex:
        return _unlink(state, before)
    same = before is not None and before.ifindex and before.identity == endpoint.identity
    operations: list[Operation] = []
    if not same:
        state, operations = _join(state, endpoint.identity, endpoint.labels, network)
    slot = state.subjects[endpoint.identity].slot
    operations.append(
        PutEndpoint(endpoint.ifindex, endpoint_entry(endpoint, network, slot, audit=state.audit))
    )
    entry = address_entry(endpoint, network, slot, audit=state.audit)
    ipcache, changes = state.ipcache.put_many(Owner.ENDPOINT, dict.fromkeys(endpoint.prefixes, entry))
    if before is not None and before.ifindex and before.prefixes != endpoint.prefixes:
        stale = set(before.prefixes) - set(endpoint.prefixes)
        ipcache, more_changes = ipcache.remove_many(Owner.ENDPOINT, stale)
        changes = changes.then(more_changes)
    state = replace(state, ipcache=ipcache)
    operations.extend(address_operations(changes))
    if before is not None and before.ifindex:
        if before.ifindex != endpoint.ifindex:
            operations.append(DeleteEndpoint(before.ifindex))
        if not same:
            state, more = _leave(state, before.identity)
            operations.extend(more)
    return state, operations


def _remove_endpoint(state: State, docker_id: str) -> Step:
    endpoint = state.endpoints.get(docker_id)
    if endpoint is None:
        return state, []
    return _unlink(replace(state, endpoints=state.endpoints.delete(docker_id)), endpoint)


def _unlink(state: State, endpoint: Endpoint | None) -> Step:
    """What was in force for an endpoint, if anything, is so no more."""
    if endpoint is None or not endpoint.ifindex:
        return state, []
    ipcache, changes = state.ipcache.remove_many(Owner.ENDPOINT, endpoint.prefixes)
    operations: list[Operation] = [*address_operations(changes), DeleteEndpoint(endpoint.ifindex)]
    state, more = _leave(replace(state, ipcache=ipcache), endpoint.identity)
    return state, [*operations, *more]


def _join(state: State, identity: int, labels: Labels, network: Network) -> Step:
    """One more endpoint has this identity; the first one brings its policy."""
    subject = state.subjects.get(identity)
    if subject is not None:
        more = replace(subject, endpoints=subject.endpoints + 1)
        return replace(state, subjects=state.subjects.set(identity, more)), []
    labels = RESERVED.get(identity, labels)
    operations: list[Operation] = []
    if state.selections.identities.get(identity, labels) != labels:
        state, operations = disown(state, [identity])
    if state.slots.used_up:
        state, emptied = _prepare_slots(state)
        operations.extend(emptied)
    if identity in state.remembered:
        slot, slots = state.remembered[identity], state.slots
    else:
        slot, slots = state.slots.take()
    mode = state.mode_of(network)
    policy = resolve(state.repository, labels, mode=mode)
    selections = state.selections.keeping(policy.selectors)
    if identity not in selections.identities:
        selections = selections.with_identities({identity: labels})
        operations.extend(introduce(state, {identity: labels}))
    operations.append(_first_filling(state, slot, policy, selections))
    subjects = state.subjects.set(
        identity, Subject(labels, network.enforcement_always, mode, slot, 1, policy)
    )
    return replace(state, subjects=subjects, selections=selections, slots=slots), operations


def _first_filling(state: State, slot: int, policy: SubjectPolicy, selections: Selections) -> Operation:
    like = next((subject.slot for subject in state.subjects.values() if subject.policy is policy), None)
    if like is not None and _is_large(policy, selections):
        return SharePolicy(slot, like)
    entries = map_state(policy, selections.select)
    # What is in a slot that was neither used nor prepared since the start may be left from an earlier life.
    is_known = slot < state.slots.fresh or slot <= state.prepared
    return EditPolicies((slot,), entries) if is_known else ReplacePolicies({slot: entries})


def _is_large(policy: SubjectPolicy, selections: Selections) -> bool:
    chosen = accumulate(len(selections.select(selector)) for selector in policy.selectors)
    return any(number >= SHARED_FROM for number in chosen)


def _leave(state: State, identity: int) -> Step:
    """One endpoint fewer has this identity; the last one takes its policy along. The slot is emptied when slots are
    prepared next."""
    subject = state.subjects[identity]
    if subject.endpoints > 1:
        fewer = replace(subject, endpoints=subject.endpoints - 1)
        return replace(state, subjects=state.subjects.set(identity, fewer)), []
    state = replace(
        state,
        subjects=state.subjects.delete(identity),
        slots=state.slots.retire(subject.slot),
    )
    operations: list[Operation] = [ReleasePolicy(subject.slot)]
    if identity not in RESERVED and identity not in state.remote:
        operations.extend(dismiss(state, {identity: subject.labels}))
        state = replace(state, selections=state.selections.without_identities([identity]))
    return state, operations


def _prepare_slots(state: State) -> Step:
    last = state.prepared
    if last < min(state.slots.fresh + SPARE_SLOTS // 2, LAST_SLOT):
        last = min(state.slots.fresh + SPARE_SLOTS, LAST_SLOT)
    new = range(max(state.slots.fresh, state.prepared + 1), last + 1)
    # A map for each: they are there to be filled in place.
    empty: dict[int, MapState] = {slot: {} for slot in (*state.slots.retired, *new)}
    if not empty:
        return state, []
    return replace(state, prepared=last, slots=state.slots.renewed()), [ReplacePolicies(empty)]


def _take_policy(state: State, event: PolicyResolved) -> Step:
    """New rules for everybody. New prefixes get their identities under the rules of before, which judge them as before;
    those of old lose theirs under the new ones, which judge them as they will be."""
    found, before = event.resolution, event.resolution.before
    operations: list[Operation] = []
    if before is not None:
        if before.repository is not state.repository or before.enforcement is not state.enforcement:
            before = with_prefixes(state, found.cidrs)
        state, operations = _enforce(state, before)
    state, more = _enforce(state, found)
    return state, [*operations, *more, BumpEpoch()]


def _enforce(state: State, found: Resolution) -> Step:
    """Endpoints that came or went since the snapshot are resolved here."""
    policies, selections, maps = _mended(state, found)
    subjects = state.subjects.update(
        {
            identity: replace(
                subject,
                policy=policies[identity],
                mode=mode_of(found.enforcement, always=subject.always),
            )
            for identity, subject in state.subjects.items()
        }
    )
    operations: list[Operation] = []
    naming = _naming(maps, found.added) if found.added else set()
    replaced = {
        subject.slot: maps[identity]
        for identity, subject in state.subjects.items()
        if policies[identity] is not subject.policy or id(maps[identity]) in naming
    }
    if replaced:
        operations.append(ReplacePolicies(replaced))
    old, new = state.cidrs.numbers, found.cidrs.numbers
    ipcache, changes = state.ipcache.put_many(
        Owner.CIDR, {prefix: IpcacheEntry(new[prefix]) for prefix in new if old.get(prefix) != new[prefix]}
    )
    ipcache, more = ipcache.remove_many(Owner.CIDR, [prefix for prefix in old if prefix not in new])
    operations.extend(part for part in address_operations(changes.then(more)) if part != BumpEpoch())
    if found.removed:
        shown = {subject.slot: maps[identity] for identity, subject in subjects.items()}
        for _, slots in by_policy(subjects.values()):
            keys = tuple(key for key in shown[slots[0]] if key.identity in found.removed)
            if keys:
                operations.append(EditPolicies(slots, {}, keys))
    selections = selections.without_identities(found.removed) if found.removed else selections
    return (
        replace(
            state,
            enforcement=found.enforcement,
            repository=found.repository,
            cidrs=found.cidrs,
            selections=selections,
            subjects=subjects,
            ipcache=ipcache,
        ),
        operations,
    )


def _naming(maps: Mapping[int, MapState], added: Mapping[int, Labels]) -> set[int]:
    """The maps, by their id, that say something about any of these identities."""
    distinct = {id(entries): entries for entries in maps.values()}
    return {number for number, entries in distinct.items() if any(key.identity in added for key in entries)}


def _mended(
    state: State, found: Resolution
) -> tuple[Mapping[int, SubjectPolicy], Selections, Mapping[int, MapState]]:
    """The resolution as it would be for the state of now, at the price of what has changed since its snapshot."""
    now, seen = state.selections.identities, found.seen
    if now is seen and set(state.subjects) == found.policies.keys():
        return found.policies, found.selections, found.maps
    came = {number: labels for number, labels in now.items() if seen.get(number) != labels}
    gone = {number for number, labels in seen.items() if now.get(number) != labels}
    selections = found.selections.without_identities(gone).with_identities(came)
    selecting = {number: selections.matching(labels) for number, labels in came.items()}
    policies: dict[int, SubjectPolicy] = {}
    maps: dict[int, MapState] = {}
    mended: dict[int, MapState] = {}
    """By the policy's id: many identities share one, and its map."""
    for identity, subject in state.subjects.items():
        policy = found.policies.get(identity)
        if policy is None or identity in came:
            policy = resolve(
                found.repository, subject.labels, mode=mode_of(found.enforcement, always=subject.always)
            )
            selections = selections.keeping(policy.selectors)
            maps[identity] = map_state(policy, selections.select)
        else:
            if id(policy) not in mended:
                kept = {key: entry for key, entry in found.maps[identity].items() if key.identity not in gone}
                for number, selectors in selecting.items():
                    kept.update(identity_delta(policy, number, selectors))
                mended[id(policy)] = kept
            maps[identity] = mended[id(policy)]
        policies[identity] = policy
    return policies, selections, maps
