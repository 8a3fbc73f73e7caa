"""The bytes of Docker's plugin protocol."""

from __future__ import annotations

import json

import pytest

from model.errors import Exhausted, InvalidInput
from model.plugin_protocol import encode, encode_error, parse


@pytest.mark.parametrize("body", [b"", b"\n", b"{}"])
def test_calls_without_arguments_have_no_members(body: bytes) -> None:
    assert parse(body) == {}


def test_a_body_is_read_and_an_answer_written() -> None:
    assert parse(b'{"PoolID":"p","Options":null}\n') == {"PoolID": "p", "Options": None}
    assert parse(encode({"Address": "10.0.0.2/24", "Data": {}})) == {"Address": "10.0.0.2/24", "Data": {}}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "no JSON"),
        (b"\xff", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "a list, not an object"),
        (b'"x"', "a text, not an object"),
        (b"7", "a number, not an object"),
        (b"true", "a truth value, not an object"),
        (b"null", "null, not an object"),
    ],
)
def test_what_is_no_object_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        parse(body)


def test_an_error_has_both_keys_and_tells_what_to_do() -> None:
    text = "--subnet: it is full (take another)"
    error = Exhausted("it is full", path="--subnet", hint="take another")
    assert json.loads(encode_error(error)) == {"Err": text, "Error": text}


def test_a_fault_of_its_own_shows_its_kind_and_no_more() -> None:
    answer = json.loads(encode_error(KeyError("/secret/path")))
    assert answer["Err"] == answer["Error"] == "internal error of ciliate (KeyError); its log says more"
