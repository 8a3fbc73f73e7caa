"""The stock kernels that the datapath is proven on: what the stable releases of Debian run, and the newest."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kernel:
    name: str
    suites: tuple[str, ...]
    """Of Debian's archive, which are asked for `linux-image-amd64`; the highest version is taken."""
    lacks: frozenset[str] = frozenset()
    """What tests may `require()` in vain on it, in their words."""


KERNELS = {
    kernel.name: kernel
    for kernel in (
        Kernel("6.1", ("bookworm", "bookworm-security"), lacks=frozenset({"tcx"})),
        Kernel("6.12", ("trixie", "trixie-security")),
        # Of the backports, not of unstable: those are often behind.
        Kernel("newest", ("trixie-backports",)),
    )
}
