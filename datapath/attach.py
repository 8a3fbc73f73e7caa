"""Programs onto a container's host-side interface, and off it.

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

FROM_CONTAINER, TO_CONTAINER = "from_container", "to_container"

_TCX = {FROM_CONTAINER: AttachType.TCX_INGRESS, TO_CONTAINER: AttachType.TCX_EGRESS}
_CLSACT = {FROM_CONTAINER: 0xFFFFFFF2, TO_CONTAINER: 0xFFFFFFF3}
"""Parents of the filters: ingress and egress of a clsact qdisc."""

_TCA_BPF_ID = 11

_HANDLE = _PRIORITY = 1
"""Of our filter, so that the next one replaces it."""


@dataclass(frozen=True, slots=True)
class ContainerPrograms:
    """Descriptors of the two programs. Open them anew after each run of the loader."""

    from_container: int
    to_container: int

    @classmethod
    def open(cls, root: Path) -> ContainerPrograms:
        """Those that the loader pinned; NotFound if it has not run."""
        first = open_program(root, FROM_CONTAINER)
        try:
            return cls(first, open_program(root, TO_CONTAINER))
        except BaseException:
            os.close(first)
            raise

    def close(self) -> None:
        """Attached programs stay attached."""
        os.close(self.from_container)
        os.close(self.to_container)


def attach(ifindex: int, from_container: int, to_container: int, *, tcx: bool | None = None) -> None:
    """Both programs, in place of older ones of ours; nothing happens to those that are attached
    already. `tcx` None, here and below: as the kernel can. OSError (ENODEV) if the interface is gone."""
    programs = {FROM_CONTAINER: from_container, TO_CONTAINER: to_container}
    if has_tcx(ifindex) if tcx is None else tcx:
        for name, program in programs.items():
            _attach_tcx(ifindex, name, program)
    else:
        _attach_clsact(ifindex, programs)


def detach(ifindex: int, *, tcx: bool | None = None) -> None:
    """Take our programs off; an interface without any, or one that is gone, is no error."""
    try:
        if has_tcx(ifindex) if tcx is None else tcx:
            _detach_tcx(ifindex)
        else:
            _detach_clsact(ifindex)
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise


def attached(ifindex: int, *, tcx: bool | None = None) -> bool:
    """Whether both of our programs judge what passes the interface. False if it is gone."""
    try:
        if has_tcx(ifindex) if tcx is None else tcx:
            return all(_ours(ifindex, name) for name in _TCX)
        return _clsact_filters(ifindex) == set(_CLSACT.values())
    except OSError as error:
        if error.errno == errno.ENODEV:
            return False
        raise


def attached_ids(ifindex: int, *, tcx: bool | None = None) -> set[int]:
    """Numbers of all programs that are attached, ours or not; none if the interface is gone."""
    try:
        if has_tcx(ifindex) if tcx is None else tcx:
            return {number for where in _TCX.values() for number in syscall.attached_programs(ifindex, where)}
        return _clsact_ids(ifindex)
    except OSError as error:
        if error.errno == errno.ENODEV:
            return set()
        raise


def _attach_tcx(ifindex: int, name: str, program: int) -> None:
    wanted = syscall.program_info(program).id
    present = _ours(ifindex, name)
    if wanted in present:
        present.remove(wanted)
    elif present:
        with _program(present.pop()) as replaced:
            syscall.attach_program(program, ifindex, _TCX[name], replaced=replaced)
    else:
        syscall.attach_program(program, ifindex, _TCX[name])
    for number in present:
        with _program(number) as superfluous:
            syscall.detach_program(superfluous, ifindex, _TCX[name])


def _detach_tcx(ifindex: int) -> None:
    for name, where in _TCX.items():
        for number in _ours(ifindex, name):
            with _program(number) as program:
                syscall.detach_program(program, ifindex, where)


def _ours(ifindex: int, name: str) -> list[int]:
    """Ids of attached programs with this name: an upgrade knows its predecessor by nothing else."""
    found = []
    for number in syscall.attached_programs(ifindex, _TCX[name]):
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


def _attach_clsact(ifindex: int, programs: dict[str, int]) -> None:
    try:
        with _netlink() as netlink:
            netlink.tc("add", "clsact", ifindex)
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise
    with _netlink() as netlink:
        for name, program in programs.items():
            netlink.tc(
                "replace-filter",
                "bpf",
                ifindex,
                _HANDLE,
                fd=program,
                name=name,
                parent=_CLSACT[name],
                prio=_PRIORITY,
                direct_action=True,
            )


def _clsact_filters(ifindex: int) -> set[int]:
    """Parents that hold a filter of ours."""
    found = set()
    with _netlink() as netlink:
        for name, parent in _CLSACT.items():
            for message in netlink.get_filters(index=ifindex, parent=parent):
                options = message.get_attr("TCA_OPTIONS")
                if options is not None and options.get_attr("TCA_BPF_NAME") == name:
                    found.add(parent)
    return found


def _clsact_ids(ifindex: int) -> set[int]:
    found = set()
    with _netlink() as netlink:
        for parent in _CLSACT.values():
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


def _detach_clsact(ifindex: int) -> None:
    filters = _clsact_filters(ifindex)
    with _netlink() as netlink:
        for parent in filters:
            netlink.tc("del-filter", "bpf", ifindex, _HANDLE, parent=parent, prio=_PRIORITY)
