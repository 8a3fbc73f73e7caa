"""What differs between kernels, and what must not: the first tests to run on another one."""

from __future__ import annotations

import socket
import subprocess
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from datapath.attach import CONTAINER, attached
from datapath.compile import SOURCES, build, cache_key, read_cached
from datapath.features import has_tcx, probe
from datapath.headers import find_headers
from datapath.loader import compile_with_bcc, load
from tests.kernel.harness import CACHE, A, B, Node
from tests.kernel.network import Network, connected


def filters(interface: str, direction: str) -> str:
    command = ["tc", "filter", "show", "dev", interface, direction]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_without_tcx_programs_are_filters_of_a_clsact_qdisc_and_with_it_there_is_none(
    kept_node: Node,
) -> None:
    kept_node.reset()
    tcx = has_tcx(socket.if_nametoindex("lo"))
    with ExitStack() as stack:
        net = Network(kept_node, stack)
        with net.host.entered():
            assert attached(A.number)
            for direction, program in zip(("ingress", "egress"), CONTAINER, strict=True):
                assert (program in filters(f"c{A.number}", direction)) is not tcx
        near, far = connected(net.a, net.b, B.ipv4)
        with near, far:
            near.sendall(b"either way they judge")
            assert far.recv(100) == b"either way they judge"
        assert net.node.flows()


def test_what_was_compiled_on_one_kernel_needs_no_compiler_on_another(
    programs: Path, bpf_root: Path, tmp_path: Path
) -> None:
    """`programs` has left it in the cache."""
    assert read_cached(CACHE, cache_key(SOURCES, probe().flags()))
    assert not load(bpf_root, tmp_path / "none", {"ct4": 1024, "ct6": 1024}, prebuilt=CACHE).compiled


def test_what_is_compiled_here_is_what_is_compiled_elsewhere(programs: Path) -> None:
    flags = probe().flags()
    assert build(SOURCES, flags, partial(compile_with_bcc, find_headers())) == read_cached(
        CACHE, cache_key(SOURCES, flags)
    )
