"""Events wait for names, but not long, and never out of order."""

from __future__ import annotations

from collections.abc import Callable

from model.flow import FlowEvent
from observe.holding import PATIENCE, Holding
from observe.names import Names


def learn_everything(names: Names, now: float) -> None:
    while question := names.wanted():
        names.learn(question, None, now)


def test_an_event_that_needs_no_names_leaves_at_once(event: Callable[..., FlowEvent]) -> None:
    holding = Holding(Names())
    holding.accept([(0, event(source_identity=9, destination_identity=1, endpoint=0))], now=0.0)
    assert len(holding.release(now=0.0)) == 1


def test_an_event_waits_for_its_names(event: Callable[..., FlowEvent]) -> None:
    names = Names()
    holding = Holding(names)
    holding.accept([(0, event())], now=0.0)
    assert holding.release(now=0.0) == []
    assert holding.deadline == PATIENCE

    learn_everything(names, now=0.02)
    assert len(holding.release(now=0.02)) == 1
    assert holding.deadline is None


def test_after_that_it_goes_with_numbers_only(event: Callable[..., FlowEvent]) -> None:
    holding = Holding(Names())
    holding.accept([(0, event())], now=0.0)
    assert holding.release(now=0.99 * PATIENCE) == []
    (flow,) = holding.release(now=1.01 * PATIENCE)
    assert flow.source.identity == 1002 and flow.source.name == ""


def test_the_order_is_kept(event: Callable[..., FlowEvent]) -> None:
    names = Names()
    holding = Holding(names)
    known = event(source_identity=9, destination_identity=1, endpoint=0)
    holding.accept([(1, event()), (2, known)], now=0.0)
    assert holding.release(now=0.0) == []
    learn_everything(names, now=0.1)
    assert [flow.time_ns for flow in holding.release(now=0.1)] == [1, 2]


def test_nothing_waits_while_the_agent_is_down(event: Callable[..., FlowEvent]) -> None:
    holding = Holding(Names())
    holding.impatient = True
    holding.accept([(0, event())], now=0.0)
    assert len(holding.release(now=0.0)) == 1


def test_no_more_wait_than_there_is_room_for(event: Callable[..., FlowEvent]) -> None:
    holding = Holding(Names(), capacity=10)
    holding.accept([(number, event()) for number in range(25)], now=0.0)
    assert [flow.time_ns for flow in holding.release(now=0.0)] == list(range(15))
    assert len(holding) == 10
