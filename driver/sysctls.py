"""Switches of the host that containers need, with what they were before, so that they can be put back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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

    def forward(self, *, ipv4: bool, ipv6: bool, uplinks: Iterable[str]) -> None:
        """Let the host route. Raises Unavailable if it cannot be switched on.

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

    def restore(self, *, keep_forwarding: bool) -> None:
        """Put back what was there. `keep_forwarding`: somebody else (Docker's own networks) still needs it."""
        for path, value in self._remembered().items():
            if keep_forwarding and path in (FORWARDING4, FORWARDING6):
                continue
            try:
                (self._proc_sys / path).write_text(value)
            except OSError as error:  # an uplink that is gone has nothing to put back
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
