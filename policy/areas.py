"""Sets of ports and ICMP types, as far as some policies tell them apart: numbers whose bits are areas. PURE.

What the policies never cut apart is one area; so a policy of a few ports has a few areas, and to join, meet and
subtract sets costs next to nothing."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from policy.icmp import ICMP, ICMPV6
from policy.ports import ANY_PROTOCOL, LAST_PORT, Place
from policy.rule import Service
from policy.traffic import PROTOCOLS
from policy.wording import services_text

_LAST = {**dict.fromkeys(PROTOCOLS.values(), LAST_PORT), ICMP: 255, ICMPV6: 255}
"""The protocols that the datapath lets through at all, and the last port or type of each."""


class Areas:
    """`places`: all that will be asked about."""

    def __init__(self, places: Iterable[Place]) -> None:
        cuts: dict[int, set[int]] = {protocol: {0} for protocol in _LAST}
        for _, protocol, port, bits in places:
            if protocol in cuts:
                cuts[protocol] |= {port, port + (1 << (16 - bits))}
        self._parts: list[tuple[int, int, int]] = []
        self._first: dict[int, int] = {}
        self._starts: dict[int, list[int]] = {}
        for protocol, last in _LAST.items():
            starts = sorted(cut for cut in cuts[protocol] if cut <= last)
            self._first[protocol], self._starts[protocol] = len(self._parts), starts
            ends = [*(start - 1 for start in starts[1:]), last]
            self._parts += [(protocol, start, end) for start, end in zip(starts, ends, strict=True)]
        self.all = (1 << len(self._parts)) - 1

    def of(self, place: Place) -> int:
        """The set that a place covers."""
        _, protocol, port, bits = place
        if protocol == ANY_PROTOCOL:
            return self.all
        if protocol not in _LAST or port > _LAST[protocol]:
            return 0
        starts, first = self._starts[protocol], self._first[protocol]
        low = first + bisect_right(starts, port) - 1
        high = first + bisect_right(starts, port + (1 << (16 - bits)) - 1)
        return (1 << high) - (1 << low)

    def text(self, chosen: int) -> str:
        """`80/TCP, ICMP`, as rules are worded; the whole is `everything`, most of it `everything but 80/TCP`."""
        if chosen == self.all:
            return "everything"
        rest = self.all & ~chosen
        if chosen.bit_count() > rest.bit_count():
            return f"everything but {self._list(rest)}"
        return self._list(chosen)

    def _list(self, chosen: int) -> str:
        runs: list[tuple[int, int, int]] = []
        for number, (protocol, first, last) in enumerate(self._parts):
            if not chosen >> number & 1:
                continue
            if runs and runs[-1][0] == protocol and runs[-1][2] == first - 1:
                runs[-1] = (protocol, runs[-1][1], last)
            else:
                runs.append((protocol, first, last))
        return services_text([Service(*run) for run in runs])
