"""Programs onto an interface, a container's host side or the tunnel's device, and off it.

By tcx where the kernel has it: attached programs live as long as the interface, need no pin, and one
takes another's place between two packets. Else as a filter of a clsact qdisc, replaced in place. All
calls concern the network namespace of the calling thread.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datapath import syscall
from datapath.attributes import AttachType
from datapath.features import has_tcx
from datapath.pins import open_program

if TYPE_CHECKING:
    from pyroute2 import IPRoute

Pair = tuple[str, str]
"""Names of the programs of an interface: for what comes in there, and for what goes out."""

CONTAINER: Pair = ("from_container", "to_container")
OVERLAY: Pair = ("from_overlay", "to_overlay")

_TCX = (AttachType.TCX_INGRESS, AttachType.TCX_EGRESS)
_CLSACT = (0xFFFFFFF2, 0xFFFFFFF3)
"""Parents of the filters: ingress and egress of a clsact qdisc."""

_TCA_BPF_ID = 11

_HANDLE = _PRIORITY = 1
"""Of our filter, so that the next one replaces it."""


@dataclass(frozen=True, slots=True)
class Programs:
    """Descriptors of a pair. Open them anew after each run of the loader."""

    names: Pair
    ingress: int
    egress: int

    @classmethod
    def open(cls, root: Path, names: Pair = CONTAINER) -> Programs:
        """Those that the loader pinned; NotFound if it has not run."""
        first = open_program(root, names[0])
        try:
            return cls(names, first, open_program(root, names[1]))
        except BaseException:
            os.close(first)
            raise

    def close(self) -> None:
        """Attached programs stay attached."""
        os.close(self.ingress)
        os.close(self.egress)

    def attach(self, ifindex: int) -> None:
        attach(ifindex, self.ingress, self.egress, names=self.names)

    def attached(self, ifindex: int) -> bool:
        return attached(ifindex, names=self.names)


def attach(
    ifindex: int, ingress: int, egress: int, *, names: Pair = CONTAINER, tcx: bool | None = None
) -> None:
    """Both programs, in place of older ones of ours; nothing happens to those that are attached
    already. `tcx` None, here and below: as the kernel can. OSError (ENODEV) if the interface is gone."""
    programs = (ingress, egress)
    if has_tcx(ifindex) if tcx is None else tcx:
        for where, name, program in zip(_TCX, names, programs, strict=True):
            _attach_tcx(ifindex, where, name, program)
    else:
        _attach_clsact(ifindex, names, programs)


def detach(ifindex: int, *, names: Pair = CONTAINER, tcx: bool | None = None) -> None:
    """Take our programs off; an interface without any, or one that is gone, is no error."""
    try:
        if has_tcx(ifindex) if tcx is None else tcx:
            _detach_tcx(ifindex, names)
        else:
            _detach_clsact(ifindex, names)
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise


def attached(ifindex: int, *, names: Pair = CONTAINER, tcx: bool | None = None) -> bool:
    """Whether both of our programs judge what passes the interface. False if it is gone."""
    try:
        if has_tcx(ifindex) if tcx is None else tcx:
            return all(_ours(ifindex, where, name) for where, name in zip(_TCX, names, strict=True))
        return _clsact_filters(ifindex, names) == set(_CLSACT)
    except OSError as error:
        if error.errno == errno.ENODEV:
            return False
        raise


def attached_ids(ifindex: int, *, tcx: bool | None = None) -> set[int]:
    """Numbers of all programs that are attached, ours or not; none if the interface is gone."""
    try:
        if has_tcx(ifindex) if tcx is None else tcx:
            return {number for where in _TCX for number in syscall.attached_programs(ifindex, where)}
        return _clsact_ids(ifindex)
    except OSError as error:
        if error.errno == errno.ENODEV:
            return set()
        raise


def _attach_tcx(ifindex: int, where: AttachType, name: str, program: int) -> None:
    wanted = syscall.program_info(program).id
    present = _ours(ifindex, where, name)
    if wanted in present:
        present.remove(wanted)
    elif present:
        with _program(present.pop()) as replaced:
            syscall.attach_program(program, ifindex, where, replaced=replaced)
    else:
        syscall.attach_program(program, ifindex, where)
    for number in present:
        with _program(number) as superfluous:
            syscall.detach_program(superfluous, ifindex, where)


def _detach_tcx(ifindex: int, names: Pair) -> None:
    for where, name in zip(_TCX, names, strict=True):
        for number in _ours(ifindex, where, name):
            with _program(number) as program:
                syscall.detach_program(program, ifindex, where)


def _ours(ifindex: int, where: AttachType, name: str) -> list[int]:
    """Ids of attached programs with this name: an upgrade knows its predecessor by nothing else."""
    found = []
    for number in syscall.attached_programs(ifindex, where):
        with _program(number) as program:
            if syscall.program_info(program).name == name.encode():
                found.append(number)
    return found


@contextmanager
def _program(number: int) -> Iterator[int]:
    fd = syscall.program_by_id(number)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _netlink() -> Iterator[IPRoute]:
    """pyroute2's errors as the OSErrors they stand for. Imported where it is used: twenty megabytes
    that kernels with tcx never need."""
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        with IPRoute() as netlink:
            yield netlink
    except NetlinkError as error:
        raise OSError(error.code, f"tc: {os.strerror(error.code)}") from error


def _attach_clsact(ifindex: int, names: Pair, programs: tuple[int, int]) -> None:
    try:
        with _netlink() as netlink:
            netlink.tc("add", "clsact", ifindex)
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise
    with _netlink() as netlink:
        for parent, name, program in zip(_CLSACT, names, programs, strict=True):
            netlink.tc(
                "replace-filter",
                "bpf",
                ifindex,
                _HANDLE,
                fd=program,
                name=name,
                parent=parent,
                prio=_PRIORITY,
                direct_action=True,
            )


def _clsact_filters(ifindex: int, names: Pair) -> set[int]:
    """Parents that hold a filter of ours."""
    found = set()
    with _netlink() as netlink:
        for parent, name in zip(_CLSACT, names, strict=True):
            for message in netlink.get_filters(index=ifindex, parent=parent):
                options = message.get_attr("TCA_OPTIONS")
                if options is not None and options.get_attr("TCA_BPF_NAME") == name:
                    found.add(parent)
    return found


def _clsact_ids(ifindex: int) -> set[int]:
    found = set()
    with _netlink() as netlink:
        for parent in _CLSACT:
            for message in netlink.get_filters(index=ifindex, parent=parent):
                options = message.get_attr("TCA_OPTIONS")
                if options is not None:
                    found.add(_program_id(bytes(options.data), options.offset))
    return found


def _program_id(message: bytes, start: int) -> int:
    """Of a filter, from its options, which start there: pyroute2 does not read this attribute."""
    offset, end = start + 4, start + struct.unpack_from("=H", message, start)[0]
    while offset + 8 <= end:
        length, kind = struct.unpack_from("=HH", message, offset)
        if kind == _TCA_BPF_ID:
            return int(struct.unpack_from("=I", message, offset + 4)[0])
        offset += (max(length, 4) + 3) & ~3
    return 0


def _detach_clsact(ifindex: int, names: Pair) -> None:
    filters = _clsact_filters(ifindex, names)
    with _netlink() as netlink:
        for parent in filters:
            netlink.tc("del-filter", "bpf", ifindex, _HANDLE, parent=parent, prio=_PRIORITY)
