"""Rules as users write them: JSON or YAML in, `policy.rule` out, and every error with the path of its field.

The language is Cilium's rule schema. A field of it that is known but not enforced here yet is refused with
that reason: a rule that is half understood must not be half enforced."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load, pre_load, validate

from model.errors import InvalidInput
from model.flow import Direction
from model.labels import ANY, Label, Labels, split_source
from policy.fields import (
    cidr,
    cidr_set,
    element,
    icmp_service,
    refuse_foreign,
    rule_labels,
    services,
)
from policy.rule import Rule
from policy.selector import Entity, EntitySelector, LabelSelector, Operator, Requirement

Document = Mapping[str, Any]

LATER = {
    "toFQDNs": "rules by DNS name are not enforced yet",
    "toServices": "services are not available yet",
    "fromNodes": "rules about nodes are not enforced yet",
    "toNodes": "rules about nodes are not enforced yet",
    "nodeSelector": "rules about the host itself are not enforced yet",
    "fromGroups": "groups of a cloud provider do not exist here: list their CIDRs",
    "toGroups": "groups of a cloud provider do not exist here: list their CIDRs",
    "fromRequires": "it is not enforced: write the requirement into each fromEndpoints selector",
    "toRequires": "it is not enforced: write the requirement into each toEndpoints selector",
    "rules": "rules about HTTP, DNS or Kafka are not enforced yet, and enforcing only their ports would allow too much",
    "serverNames": "rules about TLS server names are not enforced yet",
    "terminatingTLS": "TLS is not inspected yet",
    "originatingTLS": "TLS is not inspected yet",
    "listener": "there are no custom proxies",
    "authentication": "mutual authentication is not available",
    "log": "policy log values are not available yet",
    "cidrGroupRef": "CIDR groups do not exist here: list the CIDRs",
    "cidrGroupSelector": "CIDR groups do not exist here: list the CIDRs",
}


class _Part(Schema):
    """Refuses unknown members with the nearest known one, and known ones of later with the reason."""

    @pre_load
    def only_known(self, data: Any, **_: Any) -> Any:
        if not isinstance(data, Mapping):
            raise ValidationError("must be an object")
        names = {field.data_key or name: field for name, field in self.fields.items()}
        problems: dict[str, list[str]] = {}
        for name in data:
            if name in names:
                continue
            if name in LATER:
                if data[name] not in (None, [], {}):
                    problems[name] = [LATER[name]]
                continue
            near = get_close_matches(str(name), names, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known here: {', '.join(names)}"
            problems[str(name)] = [f"no such field{hint}"]
        if problems:
            raise ValidationError(problems)
        return {name: value for name, value in data.items() if name in names}


class _RequirementSchema(_Part):
    key = fields.String(required=True)
    operator = fields.Enum(Operator, by_value=True, required=True)
    values = fields.List(fields.String(), load_default=None, allow_none=True)

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> Requirement:
        refuse_foreign(data["key"])
        operator, values = data["operator"], tuple(sorted(set(data["values"] or ())))
        if operator in (Operator.IN, Operator.NOT_IN) and not values:
            raise ValidationError({"values": [f"{operator} needs at least one value"]})
        if operator in (Operator.EXISTS, Operator.DOES_NOT_EXIST) and values:
            raise ValidationError({"values": [f"{operator} takes no values"]})
        return Requirement(*split_source(data["key"]), operator, values)


class _SelectorSchema(_Part):
    matchLabels = fields.Dict(keys=fields.String(), values=fields.String(allow_none=True), allow_none=True)
    matchExpressions = fields.List(fields.Nested(_RequirementSchema), allow_none=True)

    @pre_load
    def bare(self, data: Any, **_: Any) -> Any:
        # Labels written straight into the selector are how the oldest files have it.
        return data

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> LabelSelector:
        requirements = list(data.get("matchExpressions") or ())
        for name, value in (data.get("matchLabels") or {}).items():
            refuse_foreign(name)
            source, key = split_source(name)
            requirements.append(Requirement(source, key, Operator.IN, (value or "",)))
        return LabelSelector(tuple(sorted(set(requirements))))


class _PortSchema(_Part):
    port = fields.Raw(load_default="0")
    endPort = fields.Integer(strict=True, load_default=0)
    protocol = fields.String(load_default="ANY")

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> Any:
        return services(data["port"], data["endPort"], data["protocol"])


class _PortRuleSchema(_Part):
    ports = fields.List(
        fields.Nested(_PortSchema),
        allow_none=True,
        validate=validate.Length(max=40, error="at most 40 ports in one list: write a second one"),
    )

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> Any:
        return tuple(service for port in data.get("ports") or () for service in port)


class _IcmpFieldSchema(_Part):
    type = fields.Raw(required=True)
    family = fields.String(load_default="IPv4")

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> Any:
        return icmp_service(data["type"], data["family"])


class _IcmpSchema(_Part):
    fields_ = fields.List(
        fields.Nested(_IcmpFieldSchema),
        data_key="fields",
        required=True,
        validate=validate.Length(max=40, error="at most 40 types in one list: write a second one"),
    )

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> Any:
        return tuple(data["fields_"])


class _CidrSetSchema(_Part):
    cidr = fields.String(required=True)
    except_ = fields.List(fields.String(), data_key="except", load_default=None, allow_none=True)

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> Any:
        return cidr_set(data["cidr"], data["except_"] or ())


class _Cidr(fields.String):
    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        return cidr(super()._deserialize(value, attr, data, **kwargs))


class _Entity(fields.String):
    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, attr, data, **kwargs)
        if text not in list(Entity):
            raise ValidationError(f"{text!r} is none of {', '.join(Entity)}")
        return EntitySelector(Entity(text))


def _listed(field: Any, name: str) -> Any:
    return fields.List(field, data_key=name, allow_none=True)


class _IngressSchema(_Part):
    endpoints = _listed(fields.Nested(_SelectorSchema), "fromEndpoints")
    cidrs = _listed(_Cidr(), "fromCIDR")
    cidr_sets = _listed(fields.Nested(_CidrSetSchema), "fromCIDRSet")
    entities = _listed(_Entity(), "fromEntities")
    ports = _listed(fields.Nested(_PortRuleSchema), "toPorts")
    icmps = _listed(fields.Nested(_IcmpSchema), "icmps")

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> Any:
        return element(data)


class _EgressSchema(_IngressSchema):
    endpoints = _listed(fields.Nested(_SelectorSchema), "toEndpoints")
    cidrs = _listed(_Cidr(), "toCIDR")
    cidr_sets = _listed(fields.Nested(_CidrSetSchema), "toCIDRSet")
    entities = _listed(_Entity(), "toEntities")


class _DefaultDenySchema(_Part):
    ingress = fields.Boolean(allow_none=True)
    egress = fields.Boolean(allow_none=True)


class _RuleSchema(_Part):
    endpointSelector = fields.Nested(_SelectorSchema, required=True)
    ingress = fields.List(fields.Nested(_IngressSchema), allow_none=True)
    ingressDeny = fields.List(fields.Nested(_IngressSchema), allow_none=True)
    egress = fields.List(fields.Nested(_EgressSchema), allow_none=True)
    egressDeny = fields.List(fields.Nested(_EgressSchema), allow_none=True)
    enableDefaultDeny = fields.Nested(_DefaultDenySchema, allow_none=True)
    labels = fields.Raw(allow_none=True)
    description = fields.String(allow_none=True)

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> Rule:
        lists = [data.get(name) for name in ("ingress", "ingressDeny", "egress", "egressDeny")]
        if all(found is None for found in lists):
            raise ValidationError("a rule needs at least one of ingress, ingressDeny, egress, egressDeny")
        ingress, ingress_deny, egress, egress_deny = (tuple(found or ()) for found in lists)
        said = data.get("enableDefaultDeny") or {}
        sections = {
            Direction.INGRESS: (said.get("ingress"), ingress + ingress_deny),
            Direction.EGRESS: (said.get("egress"), egress + egress_deny),
        }
        return Rule(
            subject=data["endpointSelector"],
            allows={Direction.INGRESS: ingress, Direction.EGRESS: egress},
            denies={Direction.INGRESS: ingress_deny, Direction.EGRESS: egress_deny},
            default_deny=frozenset(
                direction
                for direction, (wanted, elements) in sections.items()
                if (bool(elements) if wanted is None else wanted and elements)
            ),
            labels=rule_labels(data.get("labels")),
        )


_RULE = _RuleSchema()


def load_rules(data: object) -> tuple[Rule, ...]:
    """A list of rules, or one rule. Raises InvalidInput with the path of the first wrong field."""
    documents = [data] if isinstance(data, Mapping) else data
    if not isinstance(documents, Sequence) or isinstance(documents, str | bytes):
        raise InvalidInput(
            "rules are a list of objects", path="rules", hint="begin with [ or with a YAML '-'"
        )
    return tuple(_load(document, f"rules[{number}]") for number, document in enumerate(documents))


def _load(document: Any, path: str) -> Rule:
    if isinstance(document, Mapping) and "apiVersion" in document:
        raise InvalidInput(
            "a Kubernetes object, not a rule",
            path=f"{path}.apiVersion",
            hint="give what stands under spec (or each element of specs), without apiVersion, kind and metadata",
        )
    try:
        rule: Rule = _RULE.load(document)
    except ValidationError as error:
        where, message = _first(error.messages)
        raise InvalidInput(message, path=path + where) from error
    except RecursionError as error:
        raise InvalidInput("nested too deeply", path=path) from error
    object.__setattr__(rule, "document", json.dumps(document, sort_keys=True, separators=(",", ":")))
    return rule


def dump_rules(rules: Sequence[Rule]) -> list[dict[str, Any]]:
    """As they were given; `load_rules` of it gives equal rules."""
    return [json.loads(rule.document) for rule in rules]


def _first(messages: Any) -> tuple[str, str]:
    """The path below the rule and the text of the first problem in marshmallow's tree of them."""
    path = ""
    while isinstance(messages, Mapping):
        name, messages = next(iter(messages.items()))
        if isinstance(name, int):
            path += f"[{name}]"
        elif name not in ("_schema", "value", "key"):
            path += f".{name}"
    return path, str(messages[0] if isinstance(messages, list) else messages)


__all__ = ["ANY", "Label", "Labels", "dump_rules", "load_rules"]
