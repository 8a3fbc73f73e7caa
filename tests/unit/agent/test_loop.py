"""The writer: one event after the other, containers first, and never a state that the kernel does not hold."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest

from agent.loop import Loop, Priority, Ticket
from model.errors import Conflict, Exhausted, Unavailable

Written = tuple[str, ...]


class Kernel:
    """Holds words. `gate` is closed while it thinks; `broken` words cannot be written, and leave a mess behind."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.thinking = threading.Event()
        self.broken: set[str] = set()
        self.repairs = 0
        self.irreparable = 0

    def realize(self, words: Sequence[str]) -> None:
        self.thinking.set()
        assert self.gate.wait(5)
        for word in words:
            self.words.append(word)
            if word in self.broken:
                raise Exhausted(f"no room for {word}")

    def repair(self, state: Written) -> None:
        self.repairs += 1
        if self.irreparable:
            self.irreparable -= 1
            raise OSError("out of memory")
        self.words = list(state)


def step(state: Written, word: str) -> tuple[Written, list[str]]:
    if word == "again":
        raise Conflict("it was there before")
    if word == "bug":
        raise KeyError(word)
    return (*state, word), [word]


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
def loop(kernel: Kernel) -> Iterator[Loop[Written, str]]:
    loop = Loop[Written, str]((), step, kernel.realize, kernel.repair)
    loop.start()
    yield loop
    kernel.gate.set()
    loop.stop()


def hold(loop: Loop[Written, str], kernel: Kernel) -> None:
    """The writer is at work, and stays so until the gate opens."""
    kernel.gate.clear()
    kernel.thinking.clear()
    loop.submit("long")
    assert kernel.thinking.wait(5)


def test_an_event_is_realized_when_the_call_returns(loop: Loop[Written, str], kernel: Kernel) -> None:
    assert [loop.call("one"), loop.call("two")] == [1, 2]
    assert loop.state == ("one", "two")
    assert kernel.words == ["one", "two"]


def test_a_container_waits_for_nobodys_policy(loop: Loop[Written, str], kernel: Kernel) -> None:
    hold(loop, kernel)
    tickets = [loop.submit("rules"), loop.submit("more rules"), loop.submit("join", Priority.CONTAINER)]
    kernel.gate.set()
    for ticket in tickets:
        ticket.wait(5)
    assert loop.state == ("long", "join", "rules", "more rules")


def test_what_is_refused_changes_nothing(loop: Loop[Written, str], kernel: Kernel) -> None:
    with pytest.raises(Conflict):
        loop.call("again")
    with pytest.raises(KeyError):
        loop.call("bug")
    assert (loop.state, loop.revision, kernel.words) == ((), 0, [])
    assert loop.call("one") == 1


def test_what_the_kernel_does_not_take_is_undone(loop: Loop[Written, str], kernel: Kernel) -> None:
    loop.call("one")
    kernel.broken = {"large"}
    with pytest.raises(Exhausted):
        loop.call("large")
    assert loop.state == ("one",)
    assert kernel.words == ["one"], "half of it was there, and is gone"
    assert loop.problem == ""


def test_nothing_is_built_on_a_kernel_that_could_not_be_put_right(
    loop: Loop[Written, str], kernel: Kernel
) -> None:
    kernel.broken, kernel.irreparable = {"large"}, 2
    with pytest.raises(Exhausted):
        loop.call("large")
    assert "out of memory" in loop.problem
    with pytest.raises(Unavailable, match="out of memory"):
        loop.call("one")
    assert loop.call("one") == 1
    assert (kernel.words, loop.problem) == (["one"], "")


def test_the_kernel_is_put_right_also_when_nobody_asks(loop: Loop[Written, str], kernel: Kernel) -> None:
    kernel.broken, kernel.irreparable = {"large"}, 1
    with pytest.raises(Exhausted):
        loop.call("large")
    deadline = threading.Event()
    for _ in range(100):
        if not loop.problem:
            break
        deadline.wait(0.05)
    assert (kernel.words, loop.problem) == ([], "")


def test_who_gives_up_waiting_can_rely_on_nothing_happening(loop: Loop[Written, str], kernel: Kernel) -> None:
    hold(loop, kernel)
    with pytest.raises(Unavailable, match="nothing was changed"):
        loop.call("late", timeout=0.01)
    kernel.gate.set()
    loop.call("next")
    assert loop.state == ("long", "next")


def test_who_gives_up_too_late_is_told_how_it_ended() -> None:
    ticket = Ticket()
    assert ticket.begin()
    threading.Timer(0.5, lambda: ticket.settle(7, None)).start()
    assert ticket.wait(0.4) == 7


def test_a_kernel_that_hangs_does_not_hang_docker() -> None:
    ticket = Ticket()
    assert ticket.begin()
    with pytest.raises(Unavailable, match="kernel"):
        ticket.wait(0.01)


def test_a_stopping_loop_does_what_it_promised_and_takes_no_more(
    loop: Loop[Written, str], kernel: Kernel
) -> None:
    hold(loop, kernel)
    promised = loop.submit("promised")
    stopping = threading.Thread(target=loop.stop)
    stopping.start()
    kernel.gate.set()
    stopping.join()
    assert promised.wait(0) == 2
    with pytest.raises(Unavailable, match="stopping"):
        loop.call("later")
