"""Which tests run on each kernel: what a kernel can spoil. Emulation is slow, so a test that asks many things of Python
and few of the kernel has no place here, and one that measures time would fail."""

from __future__ import annotations

import shlex
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from tests.vm.boot import run
from tests.vm.fetch import Unpacked

SELECTION = (
    # The verifier takes every build; probes; programs hang by clsact or tcx.
    "tests/kernel/test_kernels.py::test_without_tcx_programs_are_filters_of_a_clsact_qdisc_and_with_it_there_is_none",
    "tests/kernel/test_kernels.py::test_what_was_compiled_on_one_kernel_needs_no_compiler_on_another",
    "tests/kernel/test_builds.py",
    "tests/kernel/datapath/test_features.py",
    "tests/kernel/datapath/test_attach.py",
    # The maps as this kernel has them: batches, tries, maps of maps, the ring.
    "tests/kernel/datapath/test_syscall.py",
    "tests/kernel/datapath/test_ringbuf.py",
    "tests/kernel/datapath/test_kernel.py::test_policies_are_the_same_where_each_entry_waits",
    "tests/contract/test_datapath.py::TestPolicies",
    # Verdicts, packet by packet.
    "tests/kernel/test_policy.py",
    "tests/kernel/test_conntrack.py",
    "tests/kernel/test_fragments.py",
    # Two containers, a host and the world, with stacks of their own.
    "tests/kernel/test_network.py::TestTheyTalk::test_by_tcp",
    "tests/kernel/test_network.py::TestARuleThatGoes",
    "tests/kernel/test_network.py::TestTheSendersSocket",
    # Between hosts, by VXLAN and by Geneve.
    "tests/kernel/overlay/test_forgery.py::test_what_is_true_passes",
    "tests/kernel/overlay/test_forgery.py::test_a_lie_about_who_it_is",
)

SLOW = ("tests/kernel/test_kernels.py::test_what_is_compiled_here_is_what_is_compiled_elsewhere",)
"""Once is enough, on the oldest: half a minute, and little is asked of the kernel."""

MODULES = "nf_tables nft_chain_nat nft_ct nft_fib_inet nft_masq vxlan geneve"
"""Inserted beforehand: there that takes longer than the driver waits for nft."""

TIMEOUT = 900
"""Seconds: a machine that others use too."""


@dataclass(frozen=True, slots=True)
class Outcome:
    status: int
    """Of pytest."""
    passed: int
    skipped: frozenset[str]
    """The reasons."""
    output: str


def prove(kernel: Unpacked, folder: Path, selection: tuple[str, ...] = SELECTION) -> Outcome:
    """What those tests say on that kernel; `folder` keeps what they print and their report. Broken as of `run`."""
    # Without the plugins of pytest, which take half a minute to import there.
    tests = (
        f"PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 pytest -p no:cacheprovider --durations=10 {shlex.join(selection)}"
    )
    output = folder / "output"
    with output.open("wb") as file:
        command = f"modprobe -a {MODULES}; {tests} --junitxml=/run/machine/report.xml"
        status = run(kernel, command, folder=folder, output=file.fileno(), timeout=TIMEOUT)
    report = folder / "report.xml"
    cases = ElementTree.parse(report).findall(".//testcase") if report.exists() else []
    skipped = [reason for case in cases if (reason := case.find("skipped")) is not None]
    return Outcome(
        status,
        sum(len(case) == 0 for case in cases),
        frozenset(reason.get("message", "") for reason in skipped),
        output.read_text(errors="replace"),
    )
