"""PURE. The body of a request as rules may be written: JSON, or the part of YAML that says the same.

Read strictly, because what is misread is enforced: a key that stands twice would silently win, `010` is 8 to some
readers, and what JSON cannot say could not be kept."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable
from typing import Any

import yaml

from model.errors import InvalidInput
from model.scalars import CORE, KINDS, SCALARS

LARGEST = 1_000_000
"""Parts that a YAML document may have once its aliases are followed: a page of them can stand for terabytes."""


def parse(body: bytes, mimetype: str) -> Any:
    """JSON or YAML to Python: dicts, lists, texts, numbers, truth values, None. Several documents of one YAML stream
    are one list of what they hold; those that hold nothing are left out. Raises InvalidInput."""
    if not body.strip():
        raise InvalidInput("the body is empty", hint="send a list of rules, as JSON or YAML")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"the body is not UTF-8: {error.reason} at byte {error.start}") from error
    is_json = "yaml" not in mimetype and text.lstrip()[:1] in ("[", "{")
    try:
        data = _json(text) if is_json else _yaml(text)
        json.dumps(data, ensure_ascii=False, allow_nan=False).encode()
    except RecursionError as error:
        raise InvalidInput("the body is nested too deeply") from error
    except UnicodeEncodeError as error:
        raise InvalidInput("the body holds half of a character (a lone surrogate)") from error
    except ValueError as error:
        raise InvalidInput("the body holds a number that is too large to be one") from error
    return data


def _json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise InvalidInput(
            f"line {error.lineno}, column {error.colno}: {error.msg}", hint="not JSON"
        ) from error
    except ValueError as error:  # a number of thousands of digits
        raise InvalidInput(str(error), hint="not JSON") from error


def _yaml(text: str) -> Any:
    try:
        loader = _Strict(text)
        nodes: list[yaml.Node] = []
        while loader.check_node():
            node = loader.get_node()
            if node is not None and node.tag != f"{CORE}null":
                nodes.append(node)
        _check(nodes)
        documents = [loader.construct_document(node) for node in nodes]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise InvalidInput(f"{where}{problem}", hint="not YAML") from error
    except ValueError as error:
        raise InvalidInput(str(error), hint="not YAML") from error
    if not documents:
        raise InvalidInput("the body is empty", hint="send a list of rules, as JSON or YAML")
    if len(documents) == 1:
        return documents[0]
    lists = [document if isinstance(document, list) else [document] for document in documents]
    return [part for listed in lists for part in listed]


def _no_number(name: str) -> Any:
    raise InvalidInput(f"{name} is no number", hint="not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise InvalidInput(f"{key!r} stands twice in one object", hint="keep one of them")
            seen.add(key)
    return members


class _Strict(yaml.SafeLoader):
    """What YAML 1.1 takes for a date, an octal or a number of base 60 is a text here."""


_Strict.yaml_implicit_resolvers = {}
for _kind, _pattern, _first in SCALARS:
    _Strict.add_implicit_resolver(f"{CORE}{_kind}", re.compile(f"(?:{_pattern})$"), list(_first))


def _check(roots: list[yaml.Node]) -> None:
    """Every part, each time an alias leads to it: no other kinds than JSON has, no key twice, an end."""
    parts, waiting = 0, list(roots)
    while waiting:
        node = waiting.pop()
        parts += 1
        if parts > LARGEST:
            raise InvalidInput(
                f"with its aliases (*) followed the body has more than {LARGEST} parts",
                hint="write out what it means",
            )
        if node.tag not in KINDS:
            raise _error(f"{node.tag.removeprefix(CORE)!r} is no kind of value that rules have", node)
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            seen: set[Hashable] = set()
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    raise _error("a key is a text", key)
                if (key.tag, key.value) in seen:
                    raise _error(f"{key.value!r} stands twice in one object", key)
                seen.add((key.tag, key.value))
                waiting.append(value)


def _error(problem: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
