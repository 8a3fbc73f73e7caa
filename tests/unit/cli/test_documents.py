"""Files of rules: every way of writing them, and errors that name the file and the place."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from agent.documents import parse
from cli.documents import read
from model.errors import CiliateError, InvalidInput, NotFound


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_json_a_rule_or_a_list(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.json", '{"ingress": [{}]}')).rules == [{"ingress": [{}]}]
    assert read(write(tmp_path / "b.json", '[{"ingress": []}, {"egress": null}]')).rules == [
        {"ingress": []},
        {"egress": None},
    ]


def test_yaml_a_list_or_several_documents(tmp_path: Path) -> None:
    given = read(write(tmp_path / "a.yaml", "- ingress: [{}]\n---\negress: []\n---\n"))
    assert given.rules == [{"ingress": [{}]}, {"egress": []}]
    assert [str(origin) for origin in given.origins] == [
        f"{tmp_path}/a.yaml: document[0][0]",
        f"{tmp_path}/a.yaml: document[1]",
    ]


def test_yaml_means_what_it_means_to_the_agent(tmp_path: Path) -> None:
    words = ["010", "0x10", "12:30", "2024-01-01", "2024-01-01T00:00:00Z", "yes", "1_000", "1", "-1", "1.5", "1e3", "~",
             "null", ".inf", "=", "0o7", "+1", "''", "1.", "on", "y"]  # fmt: skip
    text = "".join(f"- {word}\n" for word in words)
    given = read(write(tmp_path / "a.yaml", text)).rules
    assert given == parse(text.encode(), "application/yaml")
    assert given[:5] == words[:5]


def test_yaml_that_begins_like_json(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.yaml", "{ingress: [{}]}")).rules == [{"ingress": [{}]}]


def test_a_directory_in_the_order_of_names(tmp_path: Path) -> None:
    write(tmp_path / "2.yaml", "[{b: 1}, {c: 1}]")
    write(tmp_path / "1.json", '{"a": 1}')
    write(tmp_path / "README", "not rules")
    assert read(str(tmp_path)).rules == [{"a": 1}, {"b": 1}, {"c": 1}]


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("[]"))
    assert read("-").rules == []


def test_a_path_of_the_api_becomes_a_place_in_a_file(tmp_path: Path) -> None:
    first, second = write(tmp_path / "1.json", '{"a": 1}'), write(tmp_path / "2.yaml", "[{b: 1}, {c: 1}]")
    given = read(str(tmp_path))
    assert given.locate("rules[0].ingress[1].toPorts") == f"{first}: ingress[1].toPorts"
    assert given.locate("rules[0]") == first
    assert given.locate("rules[2].egress") == f"{second}: [1].egress"
    assert given.locate("[2].egress") == f"{second}: [1].egress"
    assert given.locate("rules[9].egress") == "rules[9].egress"
    assert given.locate("query.wait") == "query.wait"


@pytest.mark.parametrize(
    ("name", "text", "path", "says"),
    [
        ("a.json", '[{"a": 1,}]', "a.json:1:10", "double quotes"),
        ("a.json", '{"a": 1, "a": 2}', "a.json", "'a' is written twice"),
        ("a.yaml", "ingress:\n- {}\ningress:\n- {}\n", "a.yaml:3:1", "'ingress' is written twice"),
        ("a.yaml", "a: [1\nb: 2\n", "a.yaml:2:2", ""),
        ("a.yaml", "a: !!python/object:os.system {}\n", "a.yaml:1:4", "constructor"),
        ("a.yaml", "# nothing\n", "a.yaml", "holds no rules"),
        ("a.yaml", "a: !!timestamp 2026-01-01\n", "a.yaml:1:4", "constructor"),
        ("a.yaml", "a: 1" + "0" * 5000 + "\n", "a.yaml", "digits"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, name: str, text: str, path: str, says: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read(write(tmp_path / name, text))
    assert refused.value.path == f"{tmp_path}/{path}"
    assert says in refused.value.message


def test_a_yaml_merge_is_no_repetition(tmp_path: Path) -> None:
    text = "x: &x {a: 1}\ny: {<<: *x, b: 2}\n"
    assert read(write(tmp_path / "a.yaml", text)).rules == [{"x": {"a": 1}, "y": {"a": 1, "b": 2}}]


def test_nothing_there(tmp_path: Path) -> None:
    for source in (str(tmp_path / "absent.yaml"), str(tmp_path)):
        with pytest.raises(NotFound):
            read(source)


def test_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CiliateError, match="no text"):
        read(str(tmp_path / "a.yaml"))
