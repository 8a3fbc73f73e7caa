"""How far back a reader looks, and whether it stays."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from model.errors import InvalidInput
from observe.flow import Flow, Lost
from observe.query import parse_query, parse_time

NOW = 1_700_000_000 * 10**9


def test_without_a_word_all_that_is_kept_is_wanted() -> None:
    query = parse_query({}, NOW)
    assert (query.follow, query.past) == (False, None)


def test_a_follower_wants_no_past_unless_it_says_so() -> None:
    assert parse_query({"follow": ["true"]}, NOW).past == 0
    assert parse_query({"follow": ["true"], "last": ["5"]}, NOW).past == 5
    assert parse_query({"follow": ["true"], "since": ["5m"]}, NOW).past is None


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("30s", NOW - 30 * 10**9),
        ("250ms", NOW - 250 * 10**6),
        ("2h", NOW - 7200 * 10**9),
        ("2023-11-14T22:13:20Z", NOW),
        ("2023-11-14T23:13:20+01:00", NOW),
        ("2023-11-14T22:13:20", NOW),
    ],
)
def test_times(text: str, time: int) -> None:
    assert parse_time(text, NOW) == time


def test_a_window_of_time(flow: Callable[..., Flow]) -> None:
    query = parse_query({"since": ["10s"], "until": ["5s"]}, NOW)
    assert [query.matches(flow(NOW - age * 10**9)) for age in (11, 10, 6, 5)] == [False, True, True, False]


def test_losses_are_told_to_everybody() -> None:
    assert parse_query({"verdict": ["forwarded"]}, NOW).wants(Lost(NOW, 3, "datapath"))


@pytest.mark.parametrize(
    ("parameters", "path"),
    [
        ({"last": ["-1"]}, "last"),
        ({"last": ["many"]}, "last"),
        ({"since": ["yesterday"]}, "since"),
        ({"follow": ["1"]}, "follow"),
        ({"follow": ["true", "true"]}, "follow"),
        ({"limit": ["3"]}, "limit"),
    ],
)
def test_nonsense_names_the_parameter(parameters: dict[str, list[str]], path: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_query(parameters, NOW)
    assert refused.value.path == path
