"""The programs once more, to be asked instead of to carry.

The same instructions as those at the containers' interfaces, over the same pinned maps of who is who and what the
policies are; but flows, fragments, counters, events and the epoch are in maps of their own, so that nothing that is
asked leaves a trace in the node. Packets are run by BPF_PROG_TEST_RUN and go nowhere.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from datapath import syscall
from datapath.attributes import ProgramType
from datapath.codec import decode_longs, encode_long, encode_number
from datapath.compile import Programs, relocate
from datapath.decode import decode
from datapath.frames import Flow, ethernet
from datapath.kernel_map import KernelMap
from datapath.maps import MAPS
from datapath.pins import create_map, open_map, open_program
from datapath.ringbuf import RingBuffer
from datapath.ruling import PASSES, Ruling
from model.errors import Conflict, Unavailable
from model.flow import DropReason, Verdict

READ = frozenset({"endpoints", "hosts4", "hosts6", "prefixes4", "prefixes6", "policies", "devices", "node"})
"""Maps of the node that the programs only read; all others are made anew."""

_SIZES = {"ct4": 16384, "ct6": 16384, "fragments4": 8, "fragments6": 8, "events": 65536}
_FLOWS = ("ct4", "ct6")
_DROPPED = 2  # TC_ACT_SHOT
_CONTEXT = struct.Struct("36xII148x")
"""`struct __sk_buff`: where the packet came in, and where it is."""


class DryRun:
    """One thread at a time, in the network namespace of the interfaces."""

    def __init__(self, root: Path, programs: Programs) -> None:
        """Over what is pinned below `root`. Conflict if other programs than these are in force there."""
        with ExitStack() as opened:
            maps: dict[str, int] = {}
            for name, spec in MAPS.items():
                size = _SIZES.get(name, spec.max_entries)
                maps[name] = open_map(root, name) if name in READ else create_map(spec.with_size(size))
                opened.callback(os.close, maps[name])
            self._epoch = maps["epoch"]
            self._flows = [
                KernelMap(name, maps[name], MAPS[name].key_size, MAPS[name].value_size, _SIZES[name])
                for name in _FLOWS
            ]
            self._programs: dict[str, int] = {}
            for name, code in programs.items():
                self._programs[name] = _load(name, code, maps)
                opened.callback(os.close, self._programs[name])
                _make_sure_it_is_in_force(root, name, self._programs[name])
            self._events = RingBuffer(os.dup(maps["events"]))
            opened.callback(self._events.close)
            self._opened = opened.pop_all()
        self._known: set[tuple[object, ...]] = set()

    def close(self) -> None:
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def begin(self, flow: Flow) -> None:
        """From now on nothing is known of this flow, nor of its like the other way round."""
        source_port = flow.source_port if flow.has_answer else 0
        ends = frozenset(((flow.source, source_port), (flow.destination, flow.port)))
        key = (flow.protocol, ends)
        if key in self._known:
            self.forget()
        self._known.add(key)

    def forget(self) -> None:
        """All flows."""
        for table in self._flows:
            table.delete_many([key for key, _ in table.items()])
        self._known.clear()

    def advance(self) -> None:
        """A new epoch: what is known of flows has to be judged anew."""
        first = encode_number(0)
        epoch = decode_longs(syscall.lookup(self._epoch, first, 8) or b"")[0]
        syscall.update(self._epoch, first, encode_long(epoch + 1))

    def send(self, packet: bytes, ifindex: int, mac: str, gateway: str) -> Ruling:
        """What becomes of a packet of the container that is behind this interface."""
        return self._run("from_container", ethernet(packet, mac, gateway), ifindex, 0)

    def receive(self, packet: bytes, ifindex: int, mac: str, gateway: str, origin: int) -> Ruling:
        """What becomes of a packet that the host's stack has for the container that is behind this interface.
        `origin`: the interface that it came in by; 0: it is the host's own."""
        return self._run("to_container", ethernet(packet, gateway, mac), ifindex, origin)

    def _run(self, program: str, frame: bytes, ifindex: int, origin: int) -> Ruling:
        try:
            run = syscall.run_program(self._programs[program], frame, context=_CONTEXT.pack(origin, ifindex))
        except OSError as error:
            if error.errno == errno.ENODEV:  # no such interface
                return Ruling(DropReason.UNKNOWN_ENDPOINT)
            raise
        events = self._events.take()
        if run.result == _DROPPED and len(events) != 1:
            raise Unavailable(f"a dropped packet made {len(events)} events instead of one")
        event = decode(events[0]) if events else None
        if event is None or event.verdict is Verdict.FORWARDED:
            return PASSES
        return Ruling(event.reason, event.direction, audited=event.verdict is Verdict.AUDIT)


def _load(name: str, code: bytes, maps: Mapping[str, int]) -> int:
    return syscall.load_program(ProgramType.SCHED_CLS, relocate(code, maps), name=f"dry_{name}"[:15])


def _make_sure_it_is_in_force(root: Path, name: str, program: int) -> None:
    """A program's tag is a digest of its instructions, whichever maps they use."""
    pinned = open_program(root, name)
    try:
        if bytes(syscall.program_info(pinned).tag) != bytes(syscall.program_info(program).tag):
            raise Conflict(
                f"the program {name} that is in force is not that of this version",
                hint="start the agent again: it puts its own in place",
            )
    finally:
        os.close(pinned)
