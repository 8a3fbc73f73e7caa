"""Keeps what ciliate knows in step with what the engine knows: labels that were not to be had during Join,
endpoints and networks that Docker has forgotten without a word (it does after failures, and when the driver was
away), names, addresses in use."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any, Protocol, TypeVar

import structlog

from driver.containers import EngineState, Listener
from driver.facts import ContainerFacts
from driver.host import Host
from driver.network import Networks
from driver.realm import Realm
from model.endpoint import Endpoint
from model.errors import CiliateError, Unavailable
from model.network import IPAddress, IPNetwork

log = structlog.get_logger("driver")

K = TypeVar("K", bound=Hashable)

AddressesInUse = Mapping[IPNetwork, Collection[IPAddress]]

SWEEP_SECONDS = 30.0
AGAIN_SECONDS = 8.0
"""Until the next look at what is missing."""

FORGOTTEN_SECONDS = 30.0
"""What Docker does not show may be under way; it is forgotten when it has been missing this long."""

CALM_SECONDS = 2.0
"""A look waits until no endpoint has come or gone for so long: engines miscount a network's endpoints when one looks
at it meanwhile."""

LONGEST_WAIT_SECONDS = 120.0

_TICK_SECONDS = 1.0
_BUILT_IN_IPAM = frozenset({"default", "null", "windows", ""})


class Engine(Protocol):
    """What the reconciler asks of the engine; Containers answers. Raises Unavailable while it does not."""

    @property
    def state(self) -> EngineState: ...

    def start(self, listener: Listener) -> None: ...

    def close(self) -> None: ...

    def find_patiently(self, endpoint: Endpoint) -> ContainerFacts | None: ...

    def networks(self) -> Mapping[str, Mapping[str, Any]]: ...

    def network(self, docker_id: str) -> Mapping[str, Any] | None: ...


class Missing:
    """Which things have been missing in two looks at least, and long enough."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: dict[Hashable, float] = {}

    def __len__(self) -> int:
        return len(self._since)

    def look(self, missing: Iterable[K], now: float) -> set[K]:
        """Those overdue. What is not missing any more begins anew."""
        found = set(missing)
        self._since = {key: self._since.get(key, now) for key in found}
        return {key for key in found if now - self._since[key] >= self._seconds}


class Reconciler:
    """Listens to the engine and looks around every SWEEP_SECONDS, in a thread of its own. `addresses` is told
    which pools and addresses Docker's networks use whose IPAM driver is ciliate; `pools` answers the pools that
    ciliate's IPAM driver has given out."""

    def __init__(
        self,
        realm: Realm,
        networks: Networks,
        containers: Engine,
        host: Host,
        pools: Callable[[], Collection[IPNetwork]],
        addresses: Callable[[AddressesInUse], object],
    ) -> None:
        self._realm = realm
        self._networks = networks
        self._containers = containers
        self._host = host
        self._pools = pools
        self._addresses = addresses
        self._missing_networks = Missing(FORGOTTEN_SECONDS)
        self._missing_endpoints = Missing(FORGOTTEN_SECONDS)
        self._patience_lock = threading.Lock()
        self._patience: dict[str, tuple[float, float]] = {}
        self._due = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._containers.start(self)

    def close(self) -> None:
        self._stopping.set()
        self._due.set()
        self._containers.close()
        self._thread.join()

    def engine_up(self) -> None:
        self._resolve_waiting()
        self._due.set()

    def changed(self, kind: str, action: str, identifier: str) -> None:
        if kind == "container" and action == "rename":
            self._learn_again(identifier)
        elif (kind, action) in (("container", "start"), ("network", "connect")):
            self._resolve_waiting()
        elif (kind, action) == ("network", "create"):
            self._due.set()

    def sweep(self, now: float) -> None:
        """One look around; `now` in seconds of a clock that only grows. Raises Unavailable."""
        endpoints = self._realm.endpoints()  # before Docker is asked: what comes later is not missing
        known = self._realm.networks()
        listed = self._containers.networks()
        shown: set[str] = set()
        in_use: dict[IPNetwork, set[IPAddress]] = {}
        names = {found["Driver"] for network_id, found in listed.items() if network_id in known}
        pools = set(self._pools())
        for network_id, found in listed.items():
            ours = [pool for pool in subnets_of(found) if is_ours(found, names) or pool in pools]
            if network_id not in known and not ours:
                continue
            detail = self._containers.network(network_id)
            if detail is None:
                continue
            shown |= endpoint_ids(detail)
            for pool in ours:
                in_use.setdefault(pool, set()).update(a for a in addresses_of(detail) if a in pool)
            if network_id in known:
                self._networks.rename_network(network_id, str(detail.get("Name", "")))
        for endpoint_id in self._missing_endpoints.look(set(endpoints) - shown, now):
            log.info("removing an endpoint that Docker has forgotten", endpoint=endpoint_id[:12])
            self._networks.delete_endpoint(endpoint_id)
        for network_id in self._missing_networks.look(set(known) - set(listed), now):
            log.info("removing a network that Docker has forgotten", network=network_id[:12])
            self._networks.delete_network(network_id)
        self._addresses(in_use)

    def _run(self) -> None:
        next_sweep = time.monotonic() + SWEEP_SECONDS
        while not self._stopping.is_set():
            if self._due.wait(_TICK_SECONDS):
                self._due.clear()
                next_sweep = min(next_sweep, time.monotonic())
                self._attempt("host not kept in order", self._host.keep)
            if self._stopping.is_set():
                return
            self._attempt("labels not asked for again", self._resolve_waiting)
            now = time.monotonic()
            calm = now - self._networks.last_change >= CALM_SECONDS
            if now >= next_sweep and (calm or now >= next_sweep + LONGEST_WAIT_SECONDS):
                self._attempt("host not kept in order", self._host.keep)
                if self._containers.state.up:
                    self._attempt("not reconciled with the engine", lambda: self.sweep(time.monotonic()))
                missing = len(self._missing_endpoints) + len(self._missing_networks)
                next_sweep = time.monotonic() + (AGAIN_SECONDS if missing else SWEEP_SECONDS)

    def _resolve_waiting(self) -> None:
        """Ask again for labels, ever less often for those that cannot be had."""
        waiting = self._networks.waiting()
        with self._patience_lock:
            self._patience = {e.docker_id: self._patience.get(e.docker_id, (0.0, 0.0)) for e in waiting}
        if not waiting or not self._containers.state.up:
            return
        for endpoint in waiting:
            not_before, pause = self._patience.get(endpoint.docker_id, (0.0, 0.0))
            if time.monotonic() < not_before:
                continue
            pause = min(max(_TICK_SECONDS, pause * 2), SWEEP_SECONDS)
            with self._patience_lock:
                self._patience[endpoint.docker_id] = (time.monotonic() + pause, pause)
            try:
                facts = self._containers.find_patiently(endpoint)
            except Unavailable:
                return
            try:
                if facts is not None:
                    self._networks.learn(endpoint.docker_id, facts)
            except Unavailable:
                # Its labels are known: it is the store that has no identity for them now.
                with self._patience_lock:
                    self._patience[endpoint.docker_id] = (0.0, 0.0)
                return
            except CiliateError as error:
                log.warning("labels not taken over", endpoint=endpoint.docker_id[:12], reason=str(error))

    def _learn_again(self, container_id: str) -> None:
        for endpoint in list(self._realm.endpoints().values()):
            if endpoint.container_id == container_id:
                facts = self._containers.find_patiently(endpoint)
                if facts is not None:
                    self._networks.learn(endpoint.docker_id, facts)

    @staticmethod
    def _attempt(what: str, action: Callable[[], None]) -> None:
        try:
            action()
        except CiliateError as error:
            log.warning(what, reason=str(error))
        except Exception:
            log.exception(what)


def endpoint_ids(network: Mapping[str, Any]) -> set[str]:
    """Of `GET /networks/{id}`. PURE."""
    return {str(member["EndpointID"]) for member in (network.get("Containers") or {}).values()}


def subnets_of(network: Mapping[str, Any]) -> list[IPNetwork]:
    """PURE."""
    return [
        ip_network(entry["Subnet"], strict=False) for entry in _ipam_entries(network) if entry.get("Subnet")
    ]


def addresses_of(network: Mapping[str, Any]) -> set[IPAddress]:
    """Of endpoints, gateways and those that the user has reserved. PURE."""
    found: set[IPAddress] = set()
    for member in (network.get("Containers") or {}).values():
        found |= {ip_interface(member[key]).ip for key in ("IPv4Address", "IPv6Address") if member.get(key)}
    for entry in _ipam_entries(network):
        texts = [entry.get("Gateway"), *(entry.get("AuxiliaryAddresses") or {}).values()]
        found |= {ip_address(str(text).partition("/")[0]) for text in texts if text}
    return found


def _ipam_entries(network: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return (network.get("IPAM") or {}).get("Config") or []


def is_ours(network: Mapping[str, Any], names: Collection[str]) -> bool:
    """Is its IPAM driver this plugin, whose network driver has one of these names? A managed plugin has whatever name
    it was installed under, the same for both drivers. PURE."""
    driver = str((network.get("IPAM") or {}).get("Driver", ""))
    return driver not in _BUILT_IN_IPAM and (driver in names or driver.partition(":")[0] == "ciliate")
