from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from driver.locks import NamedLocks


def test_one_after_the_other_under_one_name() -> None:
    locks, log = NamedLocks(), []

    def work(number: int) -> None:
        with locks.held("same"):
            log.append(("in", number))
            log.append(("out", number))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(50)))
    assert all(log[i][1] == log[i + 1][1] for i in range(0, len(log), 2))


def test_other_names_are_not_kept_waiting() -> None:
    locks, inside = NamedLocks(), threading.Event()

    def other() -> None:
        with locks.held("b"):
            inside.set()

    with locks.held("a"):
        thread = threading.Thread(target=other)
        thread.start()
        assert inside.wait(5)
        thread.join()


def test_a_failure_frees_the_name() -> None:
    locks = NamedLocks()
    with pytest.raises(RuntimeError), locks.held("a"):
        raise RuntimeError
    with locks.held("a"):
        pass
    assert not locks._locks
