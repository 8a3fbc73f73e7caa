"""Switches of the host that containers need, with what they were before, so that they can be put back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

import structlog

from model.errors import Unavailable

log = structlog.get_logger("driver")

FORWARDING4 = "net/ipv4/ip_forward"
FORWARDING6 = "net/ipv6/conf/all/forwarding"


class Sysctls:
    """`remembered` answers what was saved, path below /proc/sys -> value; `remember` saves one, durably."""

    def __init__(
        self,
        remembered: Callable[[], Mapping[str, str]],
        remember: Callable[[str, str], None],
        proc_sys: Path = Path("/proc/sys"),
    ) -> None:
        self._remembered = remembered
        self._remember = remember
        self._proc_sys = proc_sys

    def forward(
        self, *, ipv4: bool, ipv6: bool, uplinks: Iterable[str], others: Collection[int] = (4, 6)
    ) -> None:
        """Let the host route what containers need. What they need no more is put back as it was, unless the host
        has networks of `others` (IP versions) that may need it. Raises Unavailable if it cannot be switched on.

        A host that routes IPv6 stops listening to router advertisements, and an uplink that has its default
        route from one would lose it; such uplinks are told to go on listening (accept_ra 2) first."""
        if ipv4:
            self._set(FORWARDING4, "1")
        if ipv6 and self._read(FORWARDING6) == "0":
            for uplink in uplinks:
                path = f"net/ipv6/conf/{uplink}/accept_ra"
                if self._read(path) == "1":
                    self._set(path, "2")
            self._set(FORWARDING6, "1")
        self.restore(keep=[*others, *([4] if ipv4 else []), *([6] if ipv6 else [])])

    def restore(self, *, keep: Collection[int]) -> None:
        """Put back what was there, except what IP versions in `keep` need."""
        for path, value in self._remembered().items():
            version = 4 if path.startswith("net/ipv4/") else 6
            if version in keep or self._read(path) in (value, None):
                continue
            try:
                (self._proc_sys / path).write_text(value)
            except OSError as error:
                log.info("sysctl not restored", path=path, error=str(error))

    def _read(self, path: str) -> str | None:
        try:
            return (self._proc_sys / path).read_text().strip()
        except OSError:
            return None

    def _set(self, path: str, value: str) -> None:
        before = self._read(path)
        if before == value:
            return
        if before is not None and path not in self._remembered():
            self._remember(path, before)
        try:
            (self._proc_sys / path).write_text(value)
        except OSError as error:
            raise Unavailable(f"{path} could not be set to {value}: {error.strerror or error}") from error
