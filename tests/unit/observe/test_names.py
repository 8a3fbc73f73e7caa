"""What numbers are called, and when the agent is asked again."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest

from model.flow import Direction, FlowEvent
from model.labels import Labels
from observe.names import Kind, Memory, Names, Question

WEB = {"id": 7, "container_name": "web", "ipv4": "10.200.0.2", "ipv6": "fd00::2", "identity": 1001}
CLIENT = {"id": 8, "container_name": "client", "ipv4": "10.200.0.3", "ipv6": "", "identity": 1002}


def answer_all(names: Names, answers: dict[str, Any], now: float) -> list[str]:
    """Answers every question; returns the paths that were asked."""
    asked = []
    while question := names.wanted():
        asked.append(question.path)
        names.learn(question, answers.get(question.path), now)
    return asked


ANSWERS = {
    "identity/1001": {"id": 1001, "labels": ["container:app=web", "network:id=shop"]},
    "identity/1002": {"id": 1002, "labels": ["container:app=client"]},
    "endpoint/7": WEB,
    "endpoint/ipv4:10.200.0.3": CLIENT,
}


def test_the_first_event_asks_and_the_second_knows(event: Callable[..., FlowEvent]) -> None:
    names = Names()
    known, flow = names.flow(event(), 0, now=0.0)
    assert not known
    assert (flow.source.name, len(flow.source.labels)) == ("", 0)

    # The endpoint that judged is asked for by number, the other side by address.
    assert sorted(answer_all(names, ANSWERS, 0.0)) == sorted(ANSWERS)

    known, flow = names.flow(event(), 0, now=0.1)
    assert known
    assert (flow.source.name, flow.destination.name) == ("client", "web")
    assert flow.source.labels == Labels.parse(["container:app=client"])
    assert names.wanted() is None


def test_an_endpoints_answer_serves_its_addresses_too(event: Callable[..., FlowEvent]) -> None:
    names = Names()
    names.flow(event(), 0, now=0.0)
    answer_all(names, ANSWERS, 0.0)

    reply = event(
        direction=Direction.EGRESS,
        source=ip_address("10.200.0.3"),
        destination=ip_address("fd00::2"),
        endpoint=8,
    )
    known, flow = names.flow(reply, 0, now=0.1)
    assert known and (flow.source.name, flow.destination.name) == ("client", "web")


def test_the_world_and_the_unknown_are_never_asked_for(event: Callable[..., FlowEvent]) -> None:
    names = Names()
    known, flow = names.flow(event(source_identity=9, destination_identity=0, endpoint=0), 0, now=0.0)
    assert known
    assert flow.source.labels.texts() == ["reserved:world", "reserved:world-ipv4"]
    assert flow.destination.labels.texts() == ["reserved:unknown"]
    assert names.wanted() is None


def test_cidr_identities_have_labels_but_no_container(event: Callable[..., FlowEvent]) -> None:
    names = Names()
    names.flow(event(source_identity=1 << 24, destination_identity=1, endpoint=0), 0, now=0.0)
    assert answer_all(names, {}, 0.0) == ["identity/16777216"]


def test_what_does_not_exist_is_asked_for_again_after_a_second(event: Callable[..., FlowEvent]) -> None:
    names = Names()
    names.flow(event(), 0, now=0.0)
    assert len(answer_all(names, {}, 0.0)) == 4

    known, flow = names.flow(event(), 0, now=0.9)
    assert known and flow.source.name == ""
    assert names.wanted() is None

    known, _ = names.flow(event(), 0, now=1.1)
    assert not known
    assert len(answer_all(names, ANSWERS, 1.1)) == 4


def test_an_old_name_is_used_while_it_is_asked_for_again(event: Callable[..., FlowEvent]) -> None:
    names = Names()
    names.flow(event(), 0, now=0.0)
    answer_all(names, ANSWERS, 0.0)

    known, flow = names.flow(event(), 0, now=6.0)
    assert known and flow.destination.name == "web"
    assert "endpoint/7" in answer_all(names, {**ANSWERS, "endpoint/7": {**WEB, "container_name": "new"}}, 6.0)
    _, flow = names.flow(event(), 0, now=6.1)
    assert flow.destination.name == "new"


def test_an_address_with_another_identity_is_another_container(event: Callable[..., FlowEvent]) -> None:
    names = Names()
    names.flow(event(), 0, now=0.0)
    answer_all(names, ANSWERS, 0.0)

    known, flow = names.flow(event(source_identity=1001), 0, now=0.1)
    assert not known and flow.source.name == ""
    next_one = {**CLIENT, "id": 9, "container_name": "next", "identity": 1001}
    answer_all(names, {**ANSWERS, "endpoint/ipv4:10.200.0.3": next_one}, 0.1)
    assert names.flow(event(source_identity=1001), 0, now=0.2)[1].source.name == "next"

    known, flow = names.flow(event(source_identity=1003), 0, now=0.2)  # a flow of somebody before them
    answer_all(names, {**ANSWERS, "endpoint/ipv4:10.200.0.3": next_one}, 0.2)
    known, flow = names.flow(event(source_identity=1003), 0, now=0.3)
    assert known and flow.source.name == "" and names.wanted() is None


def test_the_memory_forgets_what_was_not_used_longest() -> None:
    memory: Memory[int, str] = Memory(2, fresh=9.0, absent=1.0)
    memory.learn(1, "one", 0.0)
    memory.learn(2, "two", 0.0)
    memory.look(1, 0.0)
    memory.learn(3, "three", 0.0)

    assert len(memory) == 2
    assert memory.look(1, 0.0) == (True, "one")
    assert memory.look(2, 0.0) == (False, None)


def test_a_flood_of_strangers_wants_a_bounded_number_of_answers() -> None:
    memory: Memory[int, str] = Memory(10, fresh=9.0, absent=1.0)
    for stranger in range(1000):
        memory.look(stranger, 0.0)
    assert len(memory.wanted) == 10


@pytest.mark.parametrize("answer", [{}, {"labels": 5}, {"labels": [None]}, [], {"labels": ["=x"]}])
def test_an_answer_of_another_shape_is_refused(answer: Any) -> None:
    with pytest.raises(ValueError, match="identity/300 is not understood"):
        Names().learn(Question(Kind.IDENTITY, 300), answer, 0.0)
