"""A whole node over small maps, of dicts and of a kernel: who does not fit is refused by name and stays closed, and
everybody else's entries are complete. And a node that changes its rules a thousand times, and is as it was."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.desired import desired, diff, realized
from agent.events import PolicyResolved, SlotsWanted
from agent.operations import realize
from agent.resolution import resolve_all
from agent.room import Room
from agent.step import step
from datapath.kernel import KernelDatapath
from datapath.maps import sized
from datapath.memory import MemoryDatapath
from datapath.pins import open_or_create_maps, prepare
from datapath.tables import Datapath
from model.endpoint import EndpointState
from model.errors import Exhausted
from model.identity import Reserved
from policy import resolve
from policy.repository import Repository
from policy.schema import load_rules
from tests.unit.agent.node import Node, allow

ROOMY = {
    "endpoints": 256, "hosts4": 1024, "hosts6": 64, "prefixes4": 256, "prefixes6": 64, "policies": 256, "inner": 256,
    "ct4": 64, "ct6": 64, "fragments4": 64, "fragments6": 64, "devices": 8, "events": 4096,
}  # fmt: skip

Make = Callable[..., Node]


@pytest.fixture(params=["memory", "kernel"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """A node over maps of these sizes. Rules are measured by the sizes of real nodes, so that it is the maps that
    get full."""
    with ExitStack() as stack:

        def node(room: Room | None = None, **sizes: int) -> Node:
            all_sizes = ROOMY | sizes
            datapath: Datapath
            if request.param == "memory":
                datapath = MemoryDatapath(all_sizes)
            else:
                root: Path = request.getfixturevalue("bpf_root")
                prepare(root)
                for fd in open_or_create_maps(root, sized(all_sizes))[0].values():
                    os.close(fd)
                datapath = stack.enter_context(KernelDatapath(root, inner_entries=all_sizes["inner"]))
            made = Node(datapath=datapath, room=room).start()  # type: ignore[arg-type]
            stack.callback(made.stop)
            made.network()
            return made

        yield node


def agree(node: Node) -> None:
    assert node.loop.problem == ""
    assert diff(desired(node.state), realized(node.datapath, node.state.slots.fresh)) == []


def join_until_refused(node: Node) -> tuple[int, Exhausted]:
    for number in range(1, 200):
        try:
            node.join(number, f"role{number}")
        except Exhausted as error:
            return number, error
    raise AssertionError("no end to it")


HAS_ROLE = {"key": "role", "operator": "Exists"}
FROM_ANY_ROLE = {**allow("web"), "ingress": [{"fromEndpoints": [{"matchExpressions": [HAS_ROLE]}]}]}


@pytest.mark.parametrize(
    ("size", "name"),
    [
        ({"inner": 8}, "policies/inner"),
        ({"hosts4": 6}, "hosts4"),
        ({"policies": 6}, "policies"),
        ({"endpoints": 6}, "endpoints"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_who_does_not_fit_is_refused_and_all_others_are_complete(
    make: Make, size: dict[str, int], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("slots", "step") if "policies" in size else ():
        monkeypatch.setattr(f"agent.{module}.LAST_SLOT", size["policies"] - 1)
    node = make(**size)
    node.join(0, "web")
    node.put(FROM_ANY_ROLE)
    number, error = join_until_refused(node)
    assert f"map {name} is full" in error.message
    assert error.hint
    agree(node)
    refused = node.state.endpoints[f"e{number}"]
    assert (refused.ifindex, refused.state) == (0, EndpointState.CREATED)
    assert node.datapath.endpoints.get(100 + number) is None
    assert all(node.datapath.ipcache.get(prefix) is None for prefix in refused.prefixes)
    with pytest.raises(Exhausted):
        node.relabel(f"e{number}", f"role{number}")
    agree(node)
    node.realm.remove_endpoint("e1")
    node.loop.call(SlotsWanted())
    node.relabel(f"e{number}", f"role{number}")
    agree(node)


def test_who_has_no_room_for_its_labels_stays_what_it_was(make: Make) -> None:
    """Waiting for labels, and denied everything."""
    node = make(inner=8)
    node.join(0, "web")
    node.put(FROM_ANY_ROLE)
    number, _ = join_until_refused(node)
    waiting = replace(
        node.state.endpoints[f"e{number}"], ifindex=999, ifname="cl999",
        identity=int(Reserved.INIT), state=EndpointState.WAITING_FOR_LABELS,
    )  # fmt: skip
    node.realm.remove_endpoint("e1")
    node.realm.put_endpoint(waiting)
    node.join(300 - 100, "another")
    with pytest.raises(Exhausted, match="policies/inner"):
        node.relabel(waiting.docker_id, f"role{number}")
    assert node.state.endpoints[waiting.docker_id].identity == Reserved.INIT
    entry = node.datapath.endpoints.get(999)
    assert entry is not None and node.datapath.policy(entry.policy) == {}
    agree(node)


def many_prefixes(number: int, byte: int = 0) -> dict[str, Any]:
    cidrs = [f"192.0.{byte}.{4 * each}/30" for each in range(number)]
    return {**allow("web"), "ingress": [{"fromCIDR": cidrs}]}


@pytest.mark.parametrize(
    ("size", "name"),
    [({"inner": 8}, "policies/inner"), ({"prefixes4": 8}, "prefixes4")],
    ids=["policy", "ipcache"],
)
def test_rules_that_find_a_map_full_leave_those_before_in_force(
    make: Make, size: dict[str, int], name: str
) -> None:
    node = make(**size)
    node.join(0, "web")
    node.put(many_prefixes(3))
    before = desired(node.state)
    with pytest.raises(Exhausted, match=f"map {name} is full") as refusal:
        node.put(many_prefixes(20), replacing=["to=web"])
    assert "stay in force" in refusal.value.hint
    assert f"map {name} is full" in node.rules.problem
    agree(node)
    assert desired(node.state) == before
    node.put(many_prefixes(4), replacing=["to=web"])
    assert node.rules.problem == ""
    agree(node)


def test_rules_are_measured_by_what_is_there_beside_them(make: Make) -> None:
    """By what others have said of addresses, and by the rules that they replace: both are there for a moment."""
    node = make(Room(prefixes={"prefixes4": 12}), prefixes4=12)
    node.join(0, "web")
    node.put(many_prefixes(5))
    stored = node.policies.all()
    with pytest.raises(Exhausted, match=r"prefixes4, where \d+ of 12") as refusal:
        node.put(many_prefixes(6, byte=2), replacing=["to=web"])
    assert "delete the old rules first" in refusal.value.hint
    assert node.policies.all() == stored
    assert node.rules.problem == ""
    node.rules.delete([], 5.0)
    node.put(many_prefixes(6, byte=2))
    agree(node)


def test_rules_that_come_and_go_leave_nothing_behind(make: Make, request: pytest.FixtureRequest) -> None:
    node = make()
    for number, role in enumerate(("web", "client", "db")):
        node.join(number, role)
    node.stop()
    rules = Repository().add(load_rules([many_prefixes(20), allow("client", "web"), FROM_ANY_ROLE]))
    state = node.state

    def held() -> object:
        infos = {
            info.name: info.entries for info in node.datapath.map_info() if info.name != "policies/inner"
        }
        kernel = {slot: dict(entries) for slot, entries in node.datapath.policies(range(1, 64)).items()}
        return (
            state.selections.identities, state.selections.chosen, state.cidrs.numbers, state.ipcache,
            set(state.subjects), state.slots.fresh, infos, kernel,
        )  # fmt: skip

    # In a kernel each publication waits for its readers.
    cycles = 1000 if "memory" in request.node.name else int(os.environ.get("CYCLES", "50"))
    first = None
    for _ in range(cycles):
        for event in (PolicyResolved(resolve_all(state, rules)), SlotsWanted(), None):
            state, operations = step(state, event or PolicyResolved(resolve_all(state, Repository())))
            realize(node.datapath, operations)
        if first is None:
            first, known = held(), len(resolve._known)
    assert held() == first
    assert diff(desired(state), realized(node.datapath, state.slots.fresh)) == []
    gc.collect()
    assert len(resolve._known) <= known
