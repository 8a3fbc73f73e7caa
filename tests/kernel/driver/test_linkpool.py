"""Links are ready before they are needed, and gone soon after."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from driver.linkpool import CALM_SECONDS, READY, LinkPool
from driver.links import Links
from driver.plan import SPARE
from model.errors import Unavailable
from tests.kernel.driver.topology import Container, run
from tests.kernel.netns import in_own_netns


def names() -> set[str]:
    return {found["ifname"] for found in json.loads(run("ip", "-j", "link"))}


def spares() -> set[str]:
    return {name for name in names() if name.startswith(f"cl{SPARE}")}


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, names()
        time.sleep(0.02)


class Host:
    def __init__(self) -> None:
        self.links = Links()
        self.fitted: list[int] = []
        self.plan = Container(self.links, 2).plan
        self.links.delete(self.plan.host_name)
        self.pool = LinkPool(self.links, self.fitted.append)
        self.pool.start()


@in_own_netns
def test_a_container_gets_a_link_that_was_ready() -> None:
    host = Host()
    host.pool.keep_ready(True)
    until(lambda: len(spares()) == READY)
    ready = list(host.fitted)
    ifindex = host.pool.obtain(host.plan)
    assert ifindex in ready and host.fitted == ready, "its programs were there before"
    assert host.plan.host_name in names() and len(spares()) == READY - 1
    until(lambda: len(spares()) == READY)
    host.pool.close()


@in_own_netns
def test_without_a_ready_link_one_is_made() -> None:
    host = Host()
    ifindex = host.pool.obtain(host.plan)
    assert host.fitted == [ifindex] and host.plan.host_name in names()
    host.pool.close()


@in_own_netns
def test_a_link_without_programs_does_not_stay() -> None:
    host = Host()

    def refuse(_ifindex: int) -> None:
        raise Unavailable("no programs")

    pool = LinkPool(host.links, refuse)
    with pytest.raises(Unavailable, match="no programs"):
        pool.obtain(host.plan)
    assert host.plan.host_name not in names()
    host.pool.close()


@in_own_netns
def test_a_link_is_removed_soon_and_waits_for_calm() -> None:
    host = Host()
    ifindex = host.pool.obtain(host.plan)
    begin = time.monotonic()
    host.pool.retire(ifindex)
    assert time.monotonic() - begin < 0.02, "who retires a link does not wait"
    assert host.plan.host_name in names()
    until(lambda: host.plan.host_name not in names())
    assert time.monotonic() - begin >= CALM_SECONDS * 0.9
    host.pool.close()


@in_own_netns
def test_the_same_name_can_be_had_again_at_once() -> None:
    host = Host()
    first = host.pool.obtain(host.plan)
    host.pool.retire(first)
    second = host.pool.obtain(host.plan)
    assert second != first
    time.sleep(CALM_SECONDS * 3)
    assert host.plan.host_name in names(), "the removal was meant for the first"
    host.pool.close()


@in_own_netns
def test_nothing_is_left_when_no_link_is_wanted() -> None:
    host = Host()
    host.pool.keep_ready(True)
    until(lambda: len(spares()) == READY)
    host.pool.retire(host.pool.obtain(host.plan))
    host.pool.keep_ready(False)
    assert names() == {"lo", "ciliate0"}
    host.pool.close()
