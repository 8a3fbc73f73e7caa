"""Files of rules: read strictly, and remembered by place, so that an error can name the file.

JSON or YAML, one rule or a list of rules in a document, several YAML documents in a file. A key that is written
twice is an error, not a rule of which half is lost."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import yaml

from model.errors import InvalidInput, NotFound
from model.scalars import CORE, KINDS, SCALARS

SUFFIXES = (".json", ".yaml", ".yml")

Loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a rule was written: `place` is its path inside the file, "" when the file is the rule."""

    file: str
    place: str

    def __str__(self) -> str:
        return f"{self.file}: {self.place}" if self.place else self.file


@dataclass(frozen=True, slots=True)
class Rules:
    rules: list[Any]
    origins: list[Origin]
    """One for each rule."""

    def locate(self, path: str) -> str:
        """A path of the API's, such as `rules[3].ingress[0]`, in terms of the files."""
        found = re.match(r"(?:rules)?\[(\d+)\]\.?(.*)", path)
        if not found or int(found[1]) >= len(self.origins):
            return path
        origin, rest = self.origins[int(found[1])], found[2]
        inner = f"{origin.place}.{rest}" if origin.place and rest else origin.place or rest
        return f"{origin.file}: {inner}" if inner else origin.file


def read(source: str) -> Rules:
    """The rules of a file, of all files of a directory in the order of their names, or of stdin ("-")."""
    files = read_files(source).values()
    return Rules(
        [rule for file in files for rule in file.rules], [origin for file in files for origin in file.origins]
    )


def read_files(source: str) -> dict[str, Rules]:
    """Likewise, by the path of each file."""
    return {name: _rules(name, text) for name, text in _texts(source)}


def _rules(name: str, text: str) -> Rules:
    rules: list[Any] = []
    origins: list[Origin] = []
    documents = _documents(name, text)
    for number, document in enumerate(documents):
        prefix = f"document[{number}]" if len(documents) > 1 else ""
        if isinstance(document, list):
            rules.extend(document)
            origins.extend(Origin(name, f"{prefix}[{index}]") for index in range(len(document)))
        else:
            rules.append(document)
            origins.append(Origin(name, prefix))
    return Rules(rules, origins)


def _texts(source: str) -> Iterable[tuple[str, str]]:
    if source == "-":
        return [("stdin", sys.stdin.read())]
    path = Path(source)
    paths = sorted(each for each in path.iterdir() if each.suffix in SUFFIXES) if path.is_dir() else [path]
    if not paths:
        raise NotFound(f"{source} holds no rules", hint=f"name the files *{', *'.join(SUFFIXES)}")
    return [(str(each), _text(each)) for each in paths]


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"no text: {error}", path=str(path)) from None
    except OSError as error:
        raise NotFound(f"cannot be read: {error.strerror}", path=str(path)) from None


def _documents(name: str, text: str) -> list[Any]:
    """JSON where it is JSON: YAML takes nearly all of it, but explains its errors worse."""
    if text.lstrip()[:1] in ("[", "{"):
        try:
            return [json.loads(text, object_pairs_hook=_without_repetition)]
        except json.JSONDecodeError as error:
            if name.endswith(".json"):
                raise InvalidInput(error.msg, path=f"{name}:{error.lineno}:{error.colno}") from None
        except ValueError as error:
            raise InvalidInput(str(error), path=name) from None
    try:
        documents = [document for document in yaml.load_all(text, _StrictLoader) if document is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        raise InvalidInput(error.problem or "no YAML", path=place) from None
    except (yaml.YAMLError, ValueError) as error:
        raise InvalidInput(f"no YAML: {error}", path=name) from None
    if not documents:
        raise InvalidInput("holds no rules", path=name, hint="an empty list is written []")
    return documents


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the key {name!r} is written twice")
    return dict(pairs)


class _StrictLoader(Loader):  # type: ignore[misc]
    yaml_implicit_resolvers: ClassVar[dict[str, list[Any]]] = {}
    yaml_constructors: ClassVar[dict[str, Any]] = {
        tag: constructor
        for tag, constructor in Loader.yaml_constructors.items()
        if tag is None or tag in KINDS
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value:
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is written twice", key.start_mark
                )
            if isinstance(key.value, str):
                seen.add(key.value)
        return super().construct_mapping(node, deep)


for _kind, _pattern, _first in SCALARS:
    _StrictLoader.add_implicit_resolver(f"{CORE}{_kind}", re.compile(f"(?:{_pattern})$"), list(_first))
