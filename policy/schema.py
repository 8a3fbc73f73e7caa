"""Rules as users write them: JSON or YAML in, `policy.rule` out, and every error with the path of its field.

The language is Cilium's rule schema. A field of it that is not enforced here yet is read like the others and then
refused with that reason, see policy.unenforced."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from weakref import WeakValueDictionary

from marshmallow import ValidationError

from model.errors import CiliateError, InvalidInput
from policy.fields import under
from policy.kubernetes import is_object, refuse_every_pod, rules_in
from policy.rule import Rule
from policy.shape import RuleSchema
from policy.unenforced import refuse_unenforced

_RULE = RuleSchema()

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)

_known: WeakValueDictionary[str, Rule] = WeakValueDictionary()
"""Rules that somebody still holds, by document: the same thousand are read again whenever one changes."""


def load_rules(data: object, pause: Callable[[], None] = lambda: None) -> tuple[Rule, ...]:
    """A list of rules, or one; and where a rule could stand, a Kubernetes object that holds some. Raises InvalidInput
    or Unsupported with the path of the first wrong field. `pause` is called between rules."""
    documents = [data] if isinstance(data, Mapping) else data
    if not isinstance(documents, Sequence) or isinstance(documents, str | bytes):
        raise InvalidInput(
            "rules are a list of objects", path="rules", hint="begin with [ or with a YAML '-'"
        )
    rules = []
    for number, document in enumerate(documents):
        for path, rule in rules_in(document, f"rules[{number}]"):
            rules.append(_load(rule, path))
            if is_object(document):
                refuse_every_pod(rule, path)
            pause()
    return tuple(rules)


def dump_rules(rules: Iterable[Rule]) -> list[dict[str, Any]]:
    """As they were given; `load_rules` of it gives equal rules."""
    return [json.loads(rule.document) for rule in rules]


def _load(data: Any, path: str) -> Rule:
    document = _document(data, path)
    rule = _known.get(document)
    if rule is None:
        rule = _known[document] = _made(document, path)
    return rule


def _document(data: Any, path: str) -> str:
    """What is stored and read again, by which every rule is judged, whatever else YAML can say."""
    try:
        return _CANONICAL.encode(data)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(
            f"cannot be written as JSON: {error}", path=path, hint="write dates and the like in quotes"
        ) from error


def _made(document: str, path: str) -> Rule:
    try:
        data = json.loads(document)
        rule: Rule = _RULE.load(data)
    except ValidationError as error:
        raise _first(error.messages, path) from error
    except RecursionError as error:
        raise InvalidInput("is nested too deeply", path=path) from error
    refuse_unenforced(data, path)
    object.__setattr__(rule, "document", document)
    return rule


def _first(messages: Any, path: str) -> CiliateError:
    """The first problem in marshmallow's tree of them, with its path."""
    while isinstance(messages, Mapping):
        name, messages = next(iter(messages.items()))
        if name != "_schema":
            path = under(path, f"[{name}]" if isinstance(name, int) else name)
    problem = messages[0]
    if isinstance(problem, CiliateError):
        return type(problem)(problem.message, path=under(path, problem.path), hint=problem.hint)
    return InvalidInput(str(problem), path=path)
