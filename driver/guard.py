"""Sees to it that no container's link is open without its programs: whatever has taken them off, they are put back, or
the link goes down. The host's own rules accept what comes from a link of ours, because its programs have judged it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from driver.network import Networks
from driver.realm import Realm

LOOKS = 16
"""Links looked at in one go, some microseconds each; all have their turn."""


class Guard:
    """`attached` says of a host side's ifindex whether both programs are there."""

    def __init__(self, realm: Realm, networks: Networks, attached: Callable[[int], bool]) -> None:
        self._realm = realm
        self._networks = networks
        self._attached = attached
        self._turn: deque[str] = deque()

    def look(self) -> None:
        """At the next few. To be called by one thread, every second or so."""
        if not self._turn:
            self._turn.extend(self._realm.endpoints())
        for _ in range(min(LOOKS, len(self._turn))):
            endpoint = self._realm.endpoints().get(self._turn.popleft())
            if endpoint is not None and endpoint.ifindex and not self._attached(endpoint.ifindex):
                self._networks.mend(endpoint)
