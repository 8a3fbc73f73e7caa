"""What has to be done now and then, away from every container's start."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from agent.events import Event, HostChanged, SlotsWanted
from agent.loop import Loop
from agent.state import State
from datapath.tables import Datapath
from driver.hostfacts import HostFacts
from model.network import IPAddress
from store.identities import IdentityAllocator

log = structlog.get_logger("housekeeping")

TICK_SECONDS = 1.0
CONNTRACK_SECONDS = 30.0
IDENTITY_SECONDS = 60.0


class Housekeeping:
    """Every second: spare policy maps when some were used; what the host view saw and the writer could not take over;
    a look at some links; references to identities that an ended session took along. More rarely: conntrack's expired
    entries and those of addresses that are gone; identities that nobody has any more."""

    def __init__(
        self,
        loop: Loop[State, Event],
        datapath: Datapath,
        identities: IdentityAllocator,
        host: Callable[[], HostFacts],
        guard: Callable[[], None],
        identify_again: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._datapath = datapath
        self._identities = identities
        self._host = host
        self._guard = guard
        self._identify_again = identify_again
        self._renumbered: set[int] = set()
        self._addresses: set[IPAddress] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)

    def start(self) -> None:
        self._addresses = self._living()
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        due = {self._conntrack: time.monotonic(), self._identities_gone: time.monotonic() + IDENTITY_SECONDS}
        every = {self._conntrack: CONNTRACK_SECONDS, self._identities_gone: IDENTITY_SECONDS}
        while not self._stopping.wait(TICK_SECONDS):
            now = time.monotonic()
            for task in (
                self._spare_maps,
                self._host_facts,
                self._links_guarded,
                self._identities_kept,
                *(task for task, at in due.items() if at <= now),
            ):
                if task in every:
                    due[task] = time.monotonic() + every[task]
                try:
                    task()
                except Exception as error:
                    log.warning("not done", task=task.__name__.strip("_"), error=str(error))

    def _spare_maps(self) -> None:
        self._loop.call(SlotsWanted())

    def _host_facts(self) -> None:
        facts = self._host()
        if facts != self._loop.state.host:
            self._loop.call(HostChanged(facts))

    def _links_guarded(self) -> None:
        self._guard()

    def _identities_kept(self) -> None:
        """After the node was cut off from the store for long, an identity that it uses may be another's."""
        self._renumbered.update(self._identities.refresh())
        if self._renumbered:
            for endpoint in list(self._loop.state.endpoints.values()):
                if endpoint.identity in self._renumbered:
                    self._identify_again(endpoint.docker_id)
            self._renumbered.clear()

    def _conntrack(self) -> None:
        living = self._living()
        gone, self._addresses = self._addresses - living, living
        self._datapath.collect_conntrack(time.monotonic_ns(), gone)

    def _identities_gone(self) -> None:
        self._identities.collect()

    def _living(self) -> set[IPAddress]:
        return {address for endpoint in self._loop.state.endpoints.values() for address in endpoint.addresses}
