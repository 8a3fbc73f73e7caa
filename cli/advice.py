"""PURE. What is wrong, by the answers of the agent and the observer, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FULL = 0.9
"""From here on a pool or a map wants attention."""

LOG = "`journalctl -u ciliate` tells why"


@dataclass(frozen=True, slots=True)
class Trouble:
    """`kind` is one upper-case word."""

    kind: str
    text: str
    hint: str


def troubles(
    health: Mapping[str, Any], maps: Sequence[Mapping[str, Any]], observer: Mapping[str, Any] | None
) -> list[Trouble]:
    """`observer` None: it does not answer."""
    return [
        *(Trouble(each["kind"], each["text"], each["hint"]) for each in health["warnings"]),
        *_parts(health),
        *_processes(health, observer),
        *_space(health, maps),
    ]


def _parts(health: Mapping[str, Any]) -> Iterator[Trouble]:
    refused = sum(each["kind"] == "REFUSED" for each in health["warnings"])
    waiting = health["endpoints"]["waiting"] - refused
    if waiting > 0:
        yield Trouble(
            "WAITING",
            f"{waiting} endpoint(s) have no labels yet and may talk to nobody",
            "`ciliate endpoint list` names them; labels come from Docker: does `docker ps` answer?",
        )
    for name, consequence, hint in (
        ("store", "new identities and rules cannot be kept", LOG),
        (
            "docker",
            "labels of new containers cannot be read",
            "does it run (`systemctl status docker`), and there? DOCKER_HOST says where it is; right after a start ask "
            "once more",
        ),
    ):
        part = health[name]
        if part["state"] != "ok":
            detail = f" ({part['detail']})" if part.get("detail") else ""
            yield Trouble(name.upper(), f"{name} is {part['state']}{detail}: {consequence}", hint)


def _processes(health: Mapping[str, Any], observer: Mapping[str, Any] | None) -> Iterator[Trouble]:
    for child in health["children"]:
        if child["state"] != "running":
            yield Trouble("PROCESS", f"{child['name']} is {child['state']}", LOG)
    if observer is None:
        yield Trouble("PROCESS", "ciliate-observe does not answer: no flows, no metrics", LOG)
    elif observer["status"] != "ok":
        yield Trouble("FLOWS", f"ciliate-observe is {observer['status']}", LOG)


def needs_room(kernel_map: Mapping[str, Any]) -> bool:
    """Nearly full. Maps without a count, and those that make room by themselves, never are."""
    entries, most = kernel_map["entries"], kernel_map["max_entries"]
    return entries is not None and "lru" not in kernel_map["type"] and entries >= FULL * most


def _space(health: Mapping[str, Any], maps: Sequence[Mapping[str, Any]]) -> Iterator[Trouble]:
    for pool in health["ipam"]:
        if pool["size"] and pool["used"] >= FULL * pool["size"]:
            yield Trouble(
                "POOL",
                f"{pool['pool']} has {pool['size'] - pool['used']} of {pool['size']} addresses left",
                "remove containers, or make a network with a larger --subnet",
            )
    for each in maps:
        if needs_room(each):
            yield Trouble(
                "MAP",
                f"the map {each['name']} holds {each['entries']} of {each['max_entries']} entries",
                "once it is full, new entries are refused and what needs them is dropped",
            )
