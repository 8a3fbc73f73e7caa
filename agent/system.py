"""The running agent, as its API sees it."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from agent import views
from agent.backups import Backups
from agent.entries import address_entry, endpoint_entry
from agent.events import Event
from agent.journal import Journal
from agent.live import LiveSettings
from agent.loop import Loop
from agent.rules import Rules
from agent.settings import SETTINGS, Settings
from agent.slots import LAST_SLOT
from agent.state import State
from agent.verification import Verification
from datapath.abi import ABI_VERSION
from datapath.attach import attached
from datapath.maps import POLICY_MAP
from datapath.tables import Datapath
from driver.bypass import Bypasses
from driver.containers import Containers
from driver.network import Networks
from identity.labels import parse_user_labels
from ipam_driver.ipam import Ipam
from model.endpoint import Endpoint
from model.errors import CiliateError, Conflict, Exhausted, NotFound
from model.version import VERSION
from policy.mapstate import map_state
from store.identities import IdentityAllocator
from store.kv import KeyValueStore

if TYPE_CHECKING:
    from agent.cluster import Cluster

log = structlog.get_logger("agent")

Text = dict[str, Any]

REFUSING = ("endpoints", "hosts4", "hosts6", "prefixes4", "prefixes6", "devices", POLICY_MAP)
"""Maps that refuse entries when they are full; the others make room, or are always full."""


@dataclass(frozen=True, slots=True)
class System:
    settings: Settings
    loop: Loop[State, Event]
    datapath: Datapath
    rules: Rules
    backups: Backups
    networks: Networks
    ipam: Ipam
    containers: Containers
    bypasses: Bypasses
    identities: IdentityAllocator
    store: KeyValueStore
    """The cluster's, or this host's."""
    cluster: Cluster | None
    """None: a node alone."""
    journal: Journal
    live: LiveSettings
    verification: Verification
    program: Text
    """What the loader said: compiled, features."""
    lost: list[str]
    """What could not be had again at start."""
    started: float
    wsgi: Callable[..., Any]
    closing: list[Callable[[], None]]

    @property
    def state(self) -> State:
        return self.loop.state

    def hurry(self) -> None:
        """Ends what requests wait for."""
        self.rules.stop()
        self.verification.close()

    def close(self) -> None:
        """Everything, one after the other; what is in the kernel stays in force."""
        for close in self.closing:
            try:
                close()
            except Exception:
                log.exception("not closed", what=getattr(close, "__qualname__", ""))

    def health(self) -> Text:
        state = self.state
        engine = self.containers.state
        stored = self.store.health()
        problems = [problem for problem in (self.rules.problem, self.loop.problem, *self.lost) if problem]
        if self.cluster is not None and not stored.problem:
            problems += self.cluster.problems()
        warnings = [
            {"kind": "PROBLEM", "text": problem, "hint": "see the agent's log"} for problem in problems
        ]
        full = self._full_maps()
        refused = {
            state.endpoints[number].container_name: error
            for number, error in self.networks.refused().items()
            if number in state.endpoints
        }
        no_room = any(isinstance(error, Exhausted) for error in refused.values())
        warnings += [
            {
                "kind": "REFUSED",
                "text": f"container {name} stays reserved:init: {error}",
                "hint": "it is tried again: make room"
                if isinstance(error, Exhausted)
                else "remove the container and run it again without the label",
            }
            for name, error in refused.items()
        ]
        warnings += [
            {"kind": "FULL", "text": f"map {name} is full", "hint": "see `ciliate map list`"} for name in full
        ]
        warnings += views.audit_warnings(state)
        warnings += [
            {"kind": found.kind, "text": found.text, "hint": found.hint} for found in self.bypasses.current()
        ]
        return {
            "status": "degraded" if problems or full or no_room or stored.problem or not engine.up else "ok",
            "version": VERSION,
            "node": self.settings.node,
            "cluster": self.settings.cluster,
            "uptime": round(time.monotonic() - self.started, 1),
            "policy_revision": self.rules.revision,
            "policy_enforcement": str(state.enforcement),
            "policy_audit": state.audit,
            "endpoints": views.count_endpoints(state),
            "store": {
                "state": f"not answering for {time.monotonic() - stored.since:.0f} s"
                if stored.problem
                else "ok",
                "version": "",
                "detail": stored.problem or self.settings.texts["CILIATE_STORE"],
            },
            "nodes": Counter(node["state"] for node in self.nodes()),
            "docker": {
                "state": "ok" if engine.up else "not answering",
                "version": engine.version,
                "detail": self.settings.docker_host,
            },
            "datapath": {
                "abi": ABI_VERSION,
                "attach": "tcx" if self.program["features"].get("tcx") else "clsact",
                "compiled": self.program["compiled"],
                "lost_events": self.datapath.lost_events(),
            },
            "ipam": [
                views.pool(state, status.pool, status.size, status.taken) for status in self.ipam.pools()
            ],
            "children": self._children(),
            "warnings": warnings,
            "masquerade": self.settings.masquerade,
            "uplinks": sorted(state.host.uplinks.values()),
        }

    def nodes(self) -> list[Text]:
        """Of the cluster; of a host alone, none."""
        return [] if self.cluster is None else self.cluster.nodes(self.state)

    def metrics(self) -> bytes:
        from agent.metrics import metrics  # rarely wanted

        maps = self.datapath.map_info()
        return metrics(self.state, maps, revision=self.rules.revision, newest=not self.rules.problem)

    def _full_maps(self) -> list[str]:
        full = [
            info.name
            for info in self.datapath.map_info(REFUSING)
            if info.entries is not None and info.entries >= info.max_entries
        ]
        return [*full, "policies"] if len(self.state.subjects) >= LAST_SLOT else full

    def _children(self) -> list[Text]:
        try:
            report: list[Text] = json.loads((self.settings.run_dir / "children.json").read_text())
        except (OSError, ValueError):
            return []
        return report

    def configuration(self) -> list[Text]:
        texts = {**self.settings.texts, **self.live.in_force()}
        sources = dict.fromkeys(self.settings.given, "environment")
        sources |= dict.fromkeys(self.live.changed(), "api")
        return [
            {
                "name": setting.name,
                "value": texts[setting.name],
                "default": setting.default,
                "help": setting.help,
                "source": sources.get(setting.name, "default"),
                "unbuilt": setting.unbuilt,
            }
            for setting in SETTINGS
        ]

    def audit(self, endpoint: Endpoint, audit: bool) -> Endpoint:
        """Whether what its policy denies passes. In force when it returns."""
        self.networks.set_audit(endpoint.docker_id, audit)
        changed = self.state.endpoints.get(endpoint.docker_id)
        if changed is None:
            raise NotFound(f"endpoint {endpoint.id} is gone")
        return changed

    def identity(self, number: int) -> Text:
        labels = self.state.known_identities().get(number) or self.identities.lookup(number)
        if labels is None:
            raise NotFound(f"no identity {number}", hint="see `ciliate identity list`")
        return views.identity(number, labels)

    def relabel(self, endpoint: Endpoint, texts: list[str] | None) -> Endpoint:
        """Takes effect before it returns. Raises Conflict for an endpoint whose container does not run."""
        labels = None if texts is None else parse_user_labels(texts)
        if not endpoint.ifindex:
            raise Conflict(f"endpoint {endpoint.id} has no running container", hint="start it first")
        self.networks.set_labels(endpoint.docker_id, labels)
        changed = self.state.endpoints.get(endpoint.docker_id)
        if changed is None:
            raise NotFound(f"endpoint {endpoint.id} is gone")
        self.journal.write(
            endpoint.docker_id,
            "labels are the container's own again" if texts is None else f"labels set to {', '.join(texts)}",
        )
        return changed

    def endpoint_health(self, endpoint: Endpoint) -> Text:
        problems: list[str] = []
        state = self.state
        if endpoint.docker_id not in state.endpoints:
            raise NotFound(f"endpoint {endpoint.id} is gone")
        endpoint = state.endpoints[endpoint.docker_id]
        if reason := self.networks.refused().get(endpoint.docker_id):
            problems.append(f"it stays reserved:init: {reason}")
        if endpoint.ifindex:
            network, subject = state.networks[endpoint.network_id], state.subjects[endpoint.identity]
            entry = endpoint_entry(endpoint, network, subject.slot, audit=state.audit)
            address = address_entry(endpoint, network, subject.slot, audit=state.audit)
            if self.datapath.endpoints.get(endpoint.ifindex) != entry:
                problems.append("its entry in the datapath is not what it should be")
            problems.extend(
                f"the ipcache does not say that {prefix} is this endpoint"
                for prefix in endpoint.prefixes
                if self.datapath.ipcache.get(prefix) != address
            )
            if self.datapath.policy(subject.slot) != map_state(subject.policy, state.select):
                problems.append("the policy map of its identity is not what it should be")
            try:
                if not attached(endpoint.ifindex):
                    problems.append(f"no program is attached to {endpoint.ifname}: nothing passes")
            except (OSError, CiliateError) as error:
                problems.append(f"{endpoint.ifname}: {error}")
        return {"status": "degraded" if problems else "ok", "problems": problems}
