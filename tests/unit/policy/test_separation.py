"""What may talk at all."""

from __future__ import annotations

from typing import Any

import pytest

from model.flow import DropReason
from model.identity import LOCAL_FIRST, Reserved
from model.network import Network
from policy.separation import End, separation


def network(number: int, **options: Any) -> Network:
    return Network(f"n{number}", f"n{number}", number, (), **options)


INIT = End(int(Reserved.INIT), network(2))
ONE, TWO = End(256, network(2)), End(257, network(3))
HOST, WORLD, UNMANAGED, PREFIX = (
    End(number, None)
    for number in (int(Reserved.HOST), int(Reserved.WORLD_IPV4), int(Reserved.UNMANAGED), LOCAL_FIRST)
)


@pytest.mark.parametrize(
    ("opener", "responder", "reason"),
    [
        (ONE, End(258, network(2)), DropReason.NONE),
        (ONE, TWO, DropReason.NETWORKS_SEPARATE),
        (ONE, HOST, DropReason.NONE),
        (WORLD, ONE, DropReason.NONE),
        (End(0, None), ONE, DropReason.UNKNOWN_SENDER),
        (ONE, End(0, None), DropReason.UNKNOWN_DESTINATION),
        (End(256, network(2, host=False)), HOST, DropReason.HOST_FORBIDDEN),
        (HOST, End(256, network(2, host=False)), DropReason.HOST_FORBIDDEN),
        (End(256, network(2, host=False)), WORLD, DropReason.NONE),
        (End(256, network(2, world=False)), WORLD, DropReason.WORLD_FORBIDDEN),
        (End(256, network(2, internal=True)), PREFIX, DropReason.WORLD_FORBIDDEN),
        (UNMANAGED, End(256, network(2, internal=True)), DropReason.WORLD_FORBIDDEN),
        (
            End(256, network(2, inter_container=False)),
            End(257, network(2, inter_container=False)),
            DropReason.CONTAINERS_FORBIDDEN,
        ),
        (End(256, network(2, inter_container=False)), WORLD, DropReason.NONE),
        (INIT, End(256, network(2), elsewhere=True), DropReason.INIT_STAYS),
        (End(6, None, elsewhere=True), INIT, DropReason.INIT_STAYS),
        (End(257, network(3), elsewhere=True), INIT, DropReason.NETWORKS_SEPARATE),
        (INIT, ONE, DropReason.NONE),
    ],
)
def test_separation(opener: End, responder: End, reason: DropReason) -> None:
    assert separation(opener, responder) is reason
