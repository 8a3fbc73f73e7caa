"""What the containers of this node are called in networks that span nodes: their names, and the aliases that Docker
knows of them. Docker tells no driver of aliases, and asked while a container starts it would wait for that, so they are
asked for afterwards, here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass

import structlog

from agent.events import Event
from agent.loop import Loop
from agent.naming import MOST_NAMES, spans
from agent.state import State
from datapath.names import fits
from model.endpoint import Endpoint
from model.errors import Unavailable

log = structlog.get_logger("cluster")

_PAUSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Of:
    """One life of an endpoint."""

    docker_id: str
    container_id: str


class Namer:
    """`aliases`: those of a container in a network, given both ids; Unavailable while the engine does not answer."""

    def __init__(
        self,
        loop: Loop[State, Event],
        aliases: Callable[[str, str], Collection[str]],
    ) -> None:
        self._loop = loop
        self._aliases = aliases
        self._changed: Callable[[], None] = lambda: None
        self._known: dict[_Of, tuple[str, ...]] = {}
        """Replaced as a whole."""
        self._due = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="namer", daemon=True)

    def names(self, endpoint: Endpoint) -> tuple[str, ...]:
        """As far as they are known: the container's own name first."""
        aliases = self._known.get(_Of(endpoint.docker_id, endpoint.container_id), ())
        names = (name.lower() for name in (endpoint.container_name, *aliases))
        return tuple(dict.fromkeys(filter(fits, names)))[:MOST_NAMES]

    def start(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._loop.listen(self._due.set)
        self._due.set()
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._due.set()
        self._thread.join(1.0)  # it may be waiting for a container's start, and has nothing to lose

    def _run(self) -> None:
        while True:
            self._due.wait()
            self._due.clear()
            if self._stopping.is_set():
                return
            try:
                self.look()
            except Unavailable as error:
                log.debug("aliases not known yet", error=error.message)
                self._stopping.wait(_PAUSE_SECONDS)
                self._due.set()
            except Exception:
                log.exception("aliases not asked for")

    def look(self) -> None:
        """Asks for those of each container that is new. Raises Unavailable if one is not answered for."""
        state = self._loop.state
        living = {
            _Of(endpoint.docker_id, endpoint.container_id): endpoint.network_id
            for endpoint in state.endpoints.values()
            if endpoint.container_id
            and endpoint.network_id in state.networks
            and spans(state.networks[endpoint.network_id].number)
        }
        if self._known.keys() - living.keys():
            self._known = {of: names for of, names in self._known.items() if of in living}
        unanswered: Unavailable | None = None
        for of, network_id in living.items():
            if of in self._known:
                continue
            try:
                found = tuple(self._aliases(of.container_id, network_id))
            except Unavailable as error:
                unanswered = error
                continue
            except Exception as error:
                # It has ended, or the engine says what was not expected: others' aliases do not wait for that.
                log.debug("no aliases", container=of.container_id[:12], error=str(error))
                found = ()
            self._known = {**self._known, of: found}
            if found:
                self._changed()
        if unanswered is not None:
            raise unanswered
