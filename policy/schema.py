"""Rules as users write them: JSON or YAML in, `policy.rule` out, and every error with the path of its field.

The language is Cilium's rule schema. A field of it that is known but not enforced here yet is refused with
that reason: a rule that is half understood must not be half enforced."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from weakref import WeakValueDictionary

from marshmallow import EXCLUDE, Schema, ValidationError, fields, post_load, pre_load, validate

from model.errors import CiliateError, InvalidInput
from model.flow import Direction
from policy.fields import only_known, rule_labels, truth, under
from policy.peers import cidr, cidr_set, entity, selector
from policy.rule import Element, Rule, Service
from policy.selector import Selector
from policy.traffic import icmp_service, port_services

_MOST = 40
"""Entries in one list of ports or ICMP types."""


class _Parsed(fields.Field[Any]):
    """What a function of policy.fields, peers or traffic makes of it."""

    def __init__(self, parse: Callable[[Any], Any], **options: Any) -> None:
        super().__init__(**options)
        self._parse = parse

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        try:
            return self._parse(value)
        except CiliateError as error:
            raise _carrying(error) from error


def _carrying(error: CiliateError) -> ValidationError:
    """marshmallow gathers what it is given under the path it has come to; here that is the whole error."""
    messages: Any = [error]
    return ValidationError(messages)


class _Part(Schema):
    """An object with no other members than its fields. Of each list null is absent, and both differ from empty."""

    class Meta:
        unknown = EXCLUDE

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._names = [field.data_key or name for name, field in self.fields.items()]

    @pre_load
    def has_no_others(self, data: Any, **_: Any) -> Any:
        try:
            only_known(data, self._names)
        except CiliateError as error:
            raise _carrying(error) from error
        return data


def _list(item: fields.Field[Any], name: str | None = None, **options: Any) -> fields.List[Any]:
    return fields.List(
        item, data_key=name, allow_none=True, error_messages={"invalid": "must be a list"}, **options
    )


def _short_list(item: fields.Field[Any], name: str) -> fields.List[Any]:
    too_long = f"more than {_MOST}: write a second element"
    return _list(item, name, validate=lambda found: validate.Length(max=_MOST, error=too_long)(found or ()))


class _PortRuleSchema(_Part):
    ports = _short_list(_Parsed(port_services), "ports")

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> tuple[Service, ...]:
        return tuple(service for port in data.get("ports") or () for service in port)


class _IcmpSchema(_Part):
    types = _short_list(_Parsed(icmp_service), "fields")

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> tuple[Service, ...]:
        return tuple(data.get("types") or ())


class _ElementSchema(_Part):
    ports = _list(fields.Nested(_PortRuleSchema), "toPorts")
    icmps = _list(fields.Nested(_IcmpSchema))

    def peer_lists(self, data: Mapping[str, Any]) -> dict[str, list[Selector]]:
        """Those that are there, by their names in the rule."""
        names = {name: field.data_key or name for name, field in self.fields.items()}
        return {
            names[name]: data[name]
            for name in ("endpoints", "cidrs", "cidr_sets", "entities")
            if data.get(name) is not None
        }

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> Element:
        """No peer list: anybody, provided that something else restricts; an empty one: nobody, whatever stands in
        another."""
        given = self.peer_lists(data)
        filled = [name for name, peers in given.items() if peers]
        if len(filled) > 1:
            raise ValidationError(f"{' and '.join(filled)} exclude each other: write two elements")
        listed = data.get("ports") or data.get("icmps")
        requires = tuple({one for part in data.get("requires") or () for one in part.requirements})
        by_label = self.fields["endpoints"].data_key
        if requires and by_label not in given and (given or listed):
            raise ValidationError(
                {
                    self.fields["requires"].data_key: [
                        f"narrows {by_label} only, and here there is none: "
                        "write it into an element of its own"
                    ]
                }
            )
        if data.get("ports") and data.get("icmps"):
            raise ValidationError("toPorts and icmps exclude each other: write two elements")
        services = None if not listed else tuple(service for part in listed for service in part)
        if given:
            return Element(() if len(filled) < len(given) else tuple(given[filled[0]]), services, requires)
        return Element(None if services else (), services, requires)


class _IngressSchema(_ElementSchema):
    endpoints = _list(_Parsed(selector), "fromEndpoints")
    requires = _list(_Parsed(selector), "fromRequires")
    cidrs = _list(_Parsed(cidr), "fromCIDR")
    cidr_sets = _list(_Parsed(cidr_set), "fromCIDRSet")
    entities = _list(_Parsed(entity), "fromEntities")


class _EgressSchema(_ElementSchema):
    endpoints = _list(_Parsed(selector), "toEndpoints")
    requires = _list(_Parsed(selector), "toRequires")
    cidrs = _list(_Parsed(cidr), "toCIDR")
    cidr_sets = _list(_Parsed(cidr_set), "toCIDRSet")
    entities = _list(_Parsed(entity), "toEntities")


class _DefaultDenySchema(_Part):
    ingress = _Parsed(truth, allow_none=True)
    egress = _Parsed(truth, allow_none=True)


class _RuleSchema(_Part):
    endpointSelector = _Parsed(
        selector,
        required=True,
        # marshmallow reads them as formats.
        error_messages=dict.fromkeys(("required", "null"), "a rule needs one: {{}} selects all"),
    )
    ingress = _list(fields.Nested(_IngressSchema))
    ingressDeny = _list(fields.Nested(_IngressSchema))
    egress = _list(fields.Nested(_EgressSchema))
    egressDeny = _list(fields.Nested(_EgressSchema))
    enableDefaultDeny = fields.Nested(_DefaultDenySchema, allow_none=True)
    labels = _Parsed(rule_labels, allow_none=True)
    description = fields.String(allow_none=True, error_messages={"invalid": "must be text"})

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> Rule:
        lists = {Direction.INGRESS: ("ingress", "ingressDeny"), Direction.EGRESS: ("egress", "egressDeny")}
        if all(data.get(name) is None for names in lists.values() for name in names):
            raise ValidationError("a rule needs at least one of ingress, ingressDeny, egress, egressDeny")
        said = data.get("enableDefaultDeny") or {}
        wanted = {Direction.INGRESS: said.get("ingress"), Direction.EGRESS: said.get("egress")}
        return Rule(
            subject=data["endpointSelector"],
            allows={direction: tuple(data.get(allow) or ()) for direction, (allow, _) in lists.items()},
            denies={direction: tuple(data.get(deny) or ()) for direction, (_, deny) in lists.items()},
            default_deny=frozenset(
                direction
                for direction, names in lists.items()
                if any(map(data.get, names)) and wanted[direction] is not False
            ),
            labels=data.get("labels") or rule_labels(None),
        )


_RULE = _RuleSchema()

_known: WeakValueDictionary[str, Rule] = WeakValueDictionary()
"""Rules that somebody still holds, by document: the same thousand are read again whenever one changes."""


def load_rules(data: object, pause: Callable[[], None] = lambda: None) -> tuple[Rule, ...]:
    """A list of rules, or one rule. Raises InvalidInput or Unsupported with the path of the first wrong field.
    `pause` is called between rules."""
    documents = [data] if isinstance(data, Mapping) else data
    if not isinstance(documents, Sequence) or isinstance(documents, str | bytes):
        raise InvalidInput(
            "rules are a list of objects", path="rules", hint="begin with [ or with a YAML '-'"
        )
    rules = []
    for number, document in enumerate(documents):
        rules.append(_load(document, f"rules[{number}]"))
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
        return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(
            f"cannot be written as JSON: {error}", path=path, hint="write dates and the like in quotes"
        ) from error


def _made(document: str, path: str) -> Rule:
    data = json.loads(document)
    if isinstance(data, Mapping) and "apiVersion" in data:
        raise InvalidInput(
            "a Kubernetes object, not a rule",
            path=f"{path}.apiVersion",
            hint="give what stands under spec (or each element of specs), without apiVersion, kind and metadata",
        )
    try:
        rule: Rule = _RULE.load(data)
    except ValidationError as error:
        raise _first(error.messages, path) from error
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
