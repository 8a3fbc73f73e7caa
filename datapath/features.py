"""What this kernel can do, found out by trying: a tiny program or map for each question.

Versions lie (distributions backport), and a container may be refused what its kernel has.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from datapath import syscall
from datapath.attributes import AttachType, MapType, ProgramType
from datapath.codec import encode_number
from datapath.instruction import call, leave, move
from datapath.kernel_map import NO_BATCH
from datapath.maps import INNER
from datapath.pins import create_map
from model.errors import Unavailable

_REDIRECT_PEER, _COARSE_CLOCK = 155, 160


@dataclass(frozen=True, slots=True)
class Features:
    tcx: bool
    """Programs attach to interfaces without a qdisc, one replacing another with no gap (6.6)."""
    coarse_clock: bool
    """The time as of the last tick (5.11)."""
    redirect_peer: bool
    """Packets go straight into a container's namespace (5.10)."""
    ringbuf: bool
    """Events in one ring for all CPUs (5.8); nothing works without."""
    batch_of_maps: bool
    """Many policies are published in one call, and wait together (5.13)."""

    def flags(self) -> tuple[str, ...]:
        """Compiler flags of the features that the programs' code depends on."""
        return (
            f"-DHAVE_COARSE_CLOCK={self.coarse_clock:d}",
            f"-DHAVE_REDIRECT_PEER={self.redirect_peer:d}",
        )

    def as_dict(self) -> dict[str, bool]:
        return asdict(self)


def every_build() -> Iterator[Features]:
    """One of each kind that compiles to different programs: what a release ships."""
    for coarse_clock in (True, False):
        for redirect_peer in (True, False):
            yield Features(True, coarse_clock, redirect_peer, True, True)


def probe() -> Features:
    """Unavailable where bpf(2) itself is refused or the ring buffer is missing."""
    try:
        features = Features(
            tcx=has_tcx(socket.if_nametoindex("lo")),
            coarse_clock=_verifies(call(_COARSE_CLOCK)),
            redirect_peer=_verifies(move(1, 1) + move(2, 0) + call(_REDIRECT_PEER)),
            ringbuf=_creates(MapType.RINGBUF, 0, 0, 4096),
            batch_of_maps=_publishes_in_batches(),
        )
    except PermissionError as error:
        raise Unavailable(
            f"the kernel refuses bpf(2): {error.strerror}",
            hint="run as root; in a container add the capabilities BPF, NET_ADMIN, PERFMON and SYS_ADMIN",
        ) from error
    if not features.ringbuf:
        raise Unavailable("this kernel has no BPF ring buffer", hint="Linux 5.10 or newer is needed")
    return features


def has_tcx(ifindex: int) -> bool:
    """Asked of an interface of the calling thread's network namespace."""
    return _works(lambda: syscall.attached_programs(ifindex, AttachType.TCX_INGRESS))


def _works(attempt: Callable[[], object]) -> bool:
    """False only for the answers that mean "not here"; a lack of permission is raised."""
    try:
        attempt()
    except OSError as error:
        if error.errno in NO_BATCH or error.errno == errno.EACCES:
            return False
        raise
    return True


def _verifies(body: bytes) -> bool:
    def load() -> None:
        os.close(syscall.load_program(ProgramType.SCHED_CLS, body + move(0, 0) + leave(), name="probe"))

    return _works(load)


def _creates(kind: MapType, key_size: int, value_size: int, max_entries: int) -> bool:
    return _works(lambda: os.close(syscall.create_map(kind, key_size, value_size, max_entries, name="probe")))


def _publishes_in_batches() -> bool:
    with _closing(create_map(INNER.with_size(1))) as inner, _closing(_outer(inner)) as outer:
        return _works(lambda: syscall.update_batch(outer, encode_number(0), encode_number(inner), 1))


def _outer(inner: int) -> int:
    return syscall.create_map(MapType.ARRAY_OF_MAPS, 4, 4, 1, name="probe", inner=inner)


@contextmanager
def _closing(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)
