"""The datapath on the kernels that Debian ships."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.vm.kernels import KERNELS
from tests.vm.matrix import Outcome


@pytest.mark.parametrize("name", KERNELS)
def test_the_datapath_does_its_work_on(outcome: Callable[[str], Outcome], name: str) -> None:
    found = outcome(name)
    print(found.output)  # the slowest ones, and who wants to know asks with -s
    assert found.status == 0
    assert found.passed > 100
    assert found.skipped == KERNELS[name].lacks
