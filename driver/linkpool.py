"""Links ready for use, and links to be taken away, so that Docker waits for neither.

To attach a program by tcx the kernel waits until no CPU can still run the former one, twice for each link, and
again when the link goes (measured: 23 and 40 ms, all of it under the lock that every change of a link needs). So
a few pairs are made and fitted with programs ahead, and links that have served are removed a little later; most
are gone by then with their container's namespace."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable

import structlog

from driver.links import Links
from driver.plan import CONTAINER_PREFIX, DEFAULT_MTU, GATEWAY_MAC, HOST_PREFIX, SPARE, LinkPlan
from model.errors import CiliateError, Unavailable

log = structlog.get_logger("driver")

READY = 4
"""Pairs kept ready."""

CALM_SECONDS = 0.25
"""Spares are made, and links removed, when no container has come or gone for so long: both would be in the way of
the others of a burst."""

_RETRY_SECONDS = 5.0


class LinkPool:
    """Safe for many threads. `attach` puts the programs on a host side, given its ifindex."""

    def __init__(self, links: Links, attach: Callable[[int], None]) -> None:
        self._links = links
        self._attach = attach
        self._changed = threading.Condition()
        self._working = threading.Lock()
        self._ready: deque[tuple[LinkPlan, int]] = deque()
        self._retired: deque[int] = deque()
        self._wanted = False
        self._stopping = False
        self._calm_at = 0.0
        self._numbers = itertools.count()
        self._thread = threading.Thread(target=self._run, name="links", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Spares stay, and are taken over or removed by who comes next."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def keep_ready(self, wanted: bool) -> None:
        """Only a host that has networks keeps spares. When it has none any more, nothing of ours is left when this
        returns. Raises Unavailable."""
        self._wanted = wanted
        self._stir()
        if not wanted:
            self.settle()
            with self._working:
                while self._ready:
                    self._links.delete_number(self._ready.popleft()[1])

    def obtain(self, plan: LinkPlan) -> int:
        """A pair as planned, down, with its programs; answers the host side's ifindex. Raises Unavailable."""
        while self._ready:
            try:
                spare, ifindex = self._ready.popleft()
            except IndexError:
                break  # another thread was faster
            self._stir()
            try:
                return self._links.adopt(spare, plan)
            except CiliateError as error:
                log.info("a spare link was of no use", interface=spare.host_name, reason=error.message)
                self.retire(ifindex)
        self._stir()
        return self._make(plan)

    def retire(self, ifindex: int) -> None:
        """Remove the link soon. Who calls has made sure that the datapath drops what it carries."""
        self._retired.append(ifindex)
        self._stir()

    def settle(self) -> None:
        """Returns when every retired link is gone. Raises Unavailable."""
        with self._working:
            while self._retired:
                self._links.delete_number(self._retired[0])
                self._retired.popleft()

    def _stir(self) -> None:
        with self._changed:
            self._calm_at = time.monotonic() + CALM_SECONDS
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._stopping and not self._has_work():
                    self._changed.wait()
                if self._stopping:
                    return
            pause = self._calm_at - time.monotonic()
            if pause > 0:
                time.sleep(pause)
                continue
            try:
                self.settle()
                self._make_one()
            except CiliateError as error:
                log.warning("a link could not be made ready or removed", reason=str(error))
                time.sleep(_RETRY_SECONDS)
            except Exception:
                log.exception("a link could not be made ready or removed")
                time.sleep(_RETRY_SECONDS)

    def _has_work(self) -> bool:
        return bool(self._retired) or (self._wanted and len(self._ready) < READY)

    def _make_one(self) -> None:
        with self._working:
            if not self._wanted or len(self._ready) >= READY:
                return
            spare = _spare(next(self._numbers))
            self._ready.append((spare, self._make(spare)))

    def _make(self, plan: LinkPlan) -> int:
        ifindex = self._links.create(plan)
        try:
            self._attach(ifindex)
        except BaseException as error:
            self._links.delete_number(ifindex)
            if isinstance(error, OSError):
                raise Unavailable(f"the programs could not be put on {plan.host_name}: {error}") from error
            raise
        return ifindex


def _spare(number: int) -> LinkPlan:
    return LinkPlan(
        host_name=f"{HOST_PREFIX}{SPARE}{number % 100000}",
        container_name=f"{CONTAINER_PREFIX}{SPARE}{number % 100000}",
        container_mac=GATEWAY_MAC,
        mtu=DEFAULT_MTU,
        routes=(),
        sysctls=(),
    )
