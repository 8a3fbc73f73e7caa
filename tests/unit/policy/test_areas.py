"""Sets of ports as numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from model.flow import Direction
from policy.areas import Areas
from policy.ports import Place, prefixes

EVERYTHING: Place = (Direction.EGRESS, 0, 0, 0)


def places(protocol: int, first: int, last: int) -> list[Place]:
    return [(Direction.EGRESS, protocol, *part) for part in prefixes(first, last)]


def test_the_whole_and_its_parts() -> None:
    some = places(6, 80, 90) + places(17, 53, 53)
    areas = Areas(some)
    chosen = 0
    for place in some:
        chosen |= areas.of(place)
    assert areas.text(chosen) == "80-90/TCP, 53/UDP"
    assert areas.text(areas.all & ~chosen) == "everything but 80-90/TCP, 53/UDP"
    assert areas.of(EVERYTHING) == areas.all
    assert areas.text(areas.all) == "everything"


def test_a_protocol_as_a_whole_and_icmp() -> None:
    areas = Areas([])
    assert areas.text(areas.of((Direction.EGRESS, 6, 0, 0))) == "TCP"
    areas = Areas([(Direction.EGRESS, 1, 8, 16)])
    assert areas.text(areas.of((Direction.EGRESS, 1, 8, 16))) == "ICMP 8 (EchoRequest)"
    assert areas.text(areas.of((Direction.EGRESS, 1, 0, 0))) == "ICMP"
    assert areas.of((Direction.EGRESS, 1, 256, 16)) == 0, "no such type"
    assert areas.of((Direction.EGRESS, 47, 0, 0)) == 0, "the datapath lets nothing of it through"


def test_a_port_of_every_protocol_reads_as_it_is_written() -> None:
    some = [place for protocol in (6, 17, 132) for place in places(protocol, 80, 80)]
    areas = Areas(some)
    assert areas.text(sum(map(areas.of, some))) == "80"


ports = st.sampled_from([0, 1, 53, 79, 80, 81, 1023, 1024, 32768, 65535])
ranges = st.tuples(st.sampled_from([6, 17]), ports, ports).filter(lambda found: found[1] <= found[2])


@given(st.lists(ranges, min_size=1, max_size=5))
def test_two_sets_meet_where_their_ranges_do(found: list[tuple[int, int, int]]) -> None:
    areas = Areas([place for one in found for place in places(*one)])

    def of(protocol: int, first: int, last: int) -> int:
        chosen = 0
        for place in places(protocol, first, last):
            chosen |= areas.of(place)
        return chosen

    for one in found:
        for other in found:
            overlap = one[0] == other[0] and max(one[1], other[1]) <= min(one[2], other[2])
            assert bool(of(*one) & of(*other)) == overlap
