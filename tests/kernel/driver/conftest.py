from __future__ import annotations

import os

import pytest

from tests.conftest import require


@pytest.fixture(autouse=True)
def root() -> None:
    require(os.geteuid() == 0, "root, to make links and rules")
