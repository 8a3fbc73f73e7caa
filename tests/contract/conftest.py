from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.archive import CannotFetch
from tests.conftest import require
from tests.consul.server import Server, one_server


@pytest.fixture(scope="session")
def consul_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all tests; each begins by removing what the one before has left."""
    try:
        with one_server(tmp_path_factory.mktemp("consul")) as server:
            yield server
    except CannotFetch as error:
        require(False, f"a real Consul: {error}")


@pytest.fixture
def consul(consul_server: Server) -> Server:
    consul_server.ask("DELETE", "/v1/kv/?recurse")
    return consul_server
