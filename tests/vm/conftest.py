"""One machine for each kernel, two at a time, while the tests wait for what comes of them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.archive import CannotFetch
from tests.conftest import require
from tests.kernel.harness import CACHE
from tests.vm.boot import EMULATOR
from tests.vm.fetch import Unpacked, fetch
from tests.vm.kernels import KERNELS
from tests.vm.matrix import SELECTION, SLOW, Outcome, prove

MACHINES = 2
"""At once: each keeps one processor busy."""


@pytest.fixture(scope="session")
def kernels() -> dict[str, Unpacked]:
    """By name, and first of all: what is missing shows here."""
    require(shutil.which(EMULATOR) is not None, f"{EMULATOR}, to run other kernels")
    try:
        return {name: fetch(kernel) for name, kernel in KERNELS.items()}
    except CannotFetch as error:
        require(False, str(error))
        raise


def _selection(name: str) -> tuple[str, ...]:
    return SELECTION + SLOW if name == next(iter(KERNELS)) else SELECTION


@pytest.fixture(scope="session")
def outcome(
    kernels: dict[str, Unpacked], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Outcome]]:
    """What came of the selected tests on the kernel of that name."""
    # Compiled out here, where it takes seconds; the machines see the folder.
    loader = [sys.executable, "-m", "datapath.loader", "--prebuild", CACHE]
    subprocess.run(loader, check=True, stdout=subprocess.DEVNULL)
    with ThreadPoolExecutor(MACHINES) as machines:
        running = {
            name: machines.submit(prove, kernel, tmp_path_factory.mktemp(name), _selection(name))
            for name, kernel in kernels.items()
        }
        yield lambda name: running[name].result()
        machines.shutdown(cancel_futures=True)
