"""The state as it was, rebuilt from records, and the kernel made to agree with it.

Forwarding and policy went on while the agent was away. Nothing is taken from the kernel but one fact: which slot
an identity had, because the endpoint entries there still point to it."""

from __future__ import annotations

from dataclasses import replace

import structlog
from immutables import Map

from agent.desired import desired, diff, realized
from agent.events import EndpointPut, Event, HostChanged, NetworkPut, PolicyResolved
from agent.operations import realize
from agent.resolution import resolve_all
from agent.settings import Settings
from agent.slots import Slots
from agent.state import RESERVED, State
from agent.step import begin, step
from datapath.tables import Datapath
from driver.hostfacts import HostFacts
from model.errors import CiliateError
from policy.repository import Repository
from policy.resolve import Enforcement
from policy.selections import Selections
from store.local import LocalStore

log = structlog.get_logger("restore")


def remembered_slots(datapath: Datapath) -> dict[int, int]:
    """identity -> slot, as the kernel's endpoint entries have it. Where two identities claim one slot neither is
    believed."""
    slots = {entry.identity: entry.policy for _, entry in datapath.endpoints.items() if entry.policy}
    users = list(slots.values())
    return {identity: slot for identity, slot in slots.items() if users.count(slot) == 1}


def restored_state(
    settings: Settings, records: LocalStore, repository: Repository, host: HostFacts, slots: dict[int, int]
) -> State:
    """Raises nothing for a record that makes no sense any more: it is left out, and said so in the log."""
    state = State(
        enforcement=Enforcement(settings.policy_enforcement),
        selections=Selections(identities=Map(RESERVED)),
        slots=Slots.without(slots.values()),
        remembered=Map(slots),
    )
    state = begin(state, (settings.pool, settings.pool6))
    state, _ = step(state, HostChanged(host))
    state, _ = step(state, PolicyResolved(resolve_all(state, repository)))
    events: list[Event] = [NetworkPut(network) for network in records.networks().values()]
    events += [EndpointPut(endpoint) for endpoint in records.endpoints().values()]
    for event in events:
        try:
            state, _ = step(state, event)
        except CiliateError as error:
            log.warning("a record is left out", reason=str(error))
    kept = [(identity, slot) for identity, slot in slots.items() if identity in state.subjects]
    unclaimed = set(slots.values()) - {slot for _, slot in kept}
    freed = state.slots
    for slot in unclaimed:
        freed = freed.give_back(slot)
    return replace(state, slots=freed, remembered=Map(kept))


def repair(datapath: Datapath, state: State) -> None:
    """Make the kernel hold what the state says, whatever it holds now."""
    operations = diff(desired(state), realized(datapath, state.slots.fresh))
    if operations:
        log.info("the kernel is put right", operations=len(operations))
    realize(datapath, operations)
