"""What a request's body says is read strictly or refused with the place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.documents import parse
from model.errors import InvalidInput

JSON, YAML = "application/json", "application/yaml"

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc-", max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(values)
@settings(max_examples=100)
def test_json_is_json_whatever_it_is_called(value: Any) -> None:
    body = json.dumps([value]).encode()
    assert parse(body, JSON) == parse(body, "") == [value]


def test_yaml_says_the_same() -> None:
    text = b"""
- endpointSelector: {matchLabels: {app: web}}   # who
  ingress:
  - toPorts:
    - ports: [{port: 80, protocol: TCP}, {port: "443"}]
  enableDefaultDeny: {egress: false}
  description:
"""
    assert parse(text, YAML) == parse(text, "") == [
        {
            "endpointSelector": {"matchLabels": {"app": "web"}},
            "ingress": [{"toPorts": [{"ports": [{"port": 80, "protocol": "TCP"}, {"port": "443"}]}]}],
            "enableDefaultDeny": {"egress": False},
            "description": None,
        }
    ]  # fmt: skip


def test_yaml_may_repeat_itself_by_alias_and_merge() -> None:
    text = b"""
- &web {matchLabels: {app: web}}
- <<: *web
  more: 1
- *web
"""
    web = {"matchLabels": {"app": "web"}}
    assert parse(text, YAML) == [web, {**web, "more": 1}, web]


@pytest.mark.parametrize("text", ["010", "2020-01-01", "12:30", "0x10", "1_000", "0b1", ".inf", ".nan", "1."])
def test_what_readers_of_yaml_disagree_about_is_a_text(text: str) -> None:
    assert parse(f"- {text}".encode(), YAML) == [text]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"# nothing\n", "empty"),
        (b"\xff[]", "not UTF-8"),
        (b"[", "line 1, column 2"),
        (b'[{"a": 1, "a": 2}]', "'a' stands twice"),
        (b"a: 1\nb: 2\na: 3\n", "line 3, column 1: 'a' stands twice"),
        (b"[NaN]", "NaN"),
        (b"[-Infinity]", "Infinity"),
        (b"[1e999]", "too large"),
        (b"- 1e999", "too large"),
        (b"[" + b"9" * 5000 + b"]", "digits"),
        (b"- " + b"9" * 5000, "digits"),
        (b'["\\ud800"]', "surrogate"),
        (b"[" * 100_000, "nested too deeply"),
        (b"- " * 100_000, "nested too deeply"),
        (b"a: [", "line 1"),
        (b"---\na: 1\n---\nb: 2\nb: 3\n", "line 5"),
        (b"---\n---\n# nothing\n...\n", "the body is empty"),
        (b"? [a]\n: b", "a key is a text"),
        (b"- !!binary aGk=", "'binary' is no kind"),
        (b"- !!set {a}", "'set' is no kind"),
        (b"- !!python/object:os.system x", "no kind"),
        (b"- !!timestamp 2020-01-01", "no kind"),
        (b"- *nobody", "undefined alias"),
        (b"&a\n- *a", "more than"),
        (b"\x00", "not allowed"),
    ],
)  # fmt: skip
def test_nothing_is_guessed(body: bytes, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        parse(body, "")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"a: 1\n---\nb: 2\n", [{"a": 1}, {"b": 2}]),
        (b"---\n- a: 1\n- b: 2\n---\nc: 3\n", [{"a": 1}, {"b": 2}, {"c": 3}]),
        (b"# who\n---\na: 1\n---\n", {"a": 1}),
        (b"---\n- 1\n---\n---\n", [1]),
    ],
)
def test_several_documents_are_one_list(text: bytes, found: object) -> None:
    assert parse(text, YAML) == found


def test_many_documents_have_one_end() -> None:
    document = (
        b"- &a [x, x, x, x, x, x, x, x, x]\n- &b [*a, *a, *a, *a, *a, *a]\n- ["
        + b", ".join([b"*b"] * 1000)
        + b"]\n"
    )
    parse(document, YAML)
    with pytest.raises(InvalidInput, match="aliases"):
        parse(b"---\n".join([document] * 20), YAML)


def test_merging_does_not_multiply_without_end() -> None:
    lines = [b"- &a0 {" + b", ".join(b"k%d: 1" % key for key in range(50)) + b"}"]
    lines += [b"- &a%d {<<: [%s]}" % (n + 1, b", ".join([b"*a%d" % n] * 9)) for n in range(12)]
    with pytest.raises(InvalidInput, match="aliases"):
        parse(b"\n".join(lines), YAML)


def test_a_page_of_aliases_does_not_become_terabytes() -> None:
    lines = [b"- &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [b"- &a%d [%s]" % (n + 1, b", ".join([b"*a%d" % n] * 9)) for n in range(12)]
    with pytest.raises(InvalidInput, match="aliases"):
        parse(b"\n".join(lines), YAML)


def test_many_keys_are_compared_in_no_time() -> None:
    pairs = ",".join(f'"{number}":0' for number in range(50_000))
    with pytest.raises(InvalidInput, match="'7' stands twice"):
        parse(f'[{{{pairs},"7":1}}]'.encode(), JSON)


@given(st.binary(max_size=60))
@settings(max_examples=300)
def test_no_bytes_are_more_than_wrong(body: bytes) -> None:
    for mimetype in (JSON, YAML):
        try:
            parse(body, mimetype)
        except InvalidInput as error:
            assert error.message
