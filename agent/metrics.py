"""PURE. The agent's gauges, as Prometheus reads them. The flows' counters are ciliate-observe's.

The client library is loaded when somebody asks for the first time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from agent.state import State
from datapath.tables import MapInfo
from model.endpoint import EndpointState


def metrics(state: State, maps: Iterable[MapInfo], *, revision: int, newest: bool) -> bytes:
    """`revision` of the rules in force; `newest`: these are the newest ones. Maps whose entries mean nothing when
    counted have none."""
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    registry = CollectorRegistry()

    def gauge(name: str, told: str, *labels: str) -> Gauge:
        return Gauge(name, told, labels, namespace="ciliate", registry=registry)

    held = gauge("map_entries", "Entries of a map of the kernel.", "map")
    most = gauge("map_max_entries", "How many entries a map of the kernel can hold.", "map")
    for each in maps:
        if each.entries is not None:
            held.labels(each.name).set(each.entries)
        most.labels(each.name).set(each.max_entries)
    endpoints = gauge("endpoints", "Endpoints of this node, by state.", "state")
    numbers = Counter(endpoint.state for endpoint in state.endpoints.values())
    for kind in EndpointState:
        endpoints.labels(kind.value).set(numbers[kind])
    gauge("identities", "Identities that this node knows.").set(len(state.known_identities()))
    gauge("policy_revision", "Revision of the rules in force.").set(revision)
    gauge("policy_newest_in_force", "1 while the newest rules are in force, else 0.").set(newest)
    return generate_latest(registry)
