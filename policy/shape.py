"""The shape of a rule: which fields it has, of what kind, and which exclude each other.

What stands in a field is read by policy.fields, peers, traffic, l7 and unenforced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate

from model.errors import CiliateError, InvalidInput
from model.flow import Direction
from policy.fields import only_known, rule_labels, truth
from policy.l7 import l7_rules, refuse_misplaced
from policy.names import dns_name, server_name
from policy.peers import cidr, cidr_set, entity, node_selector, selector
from policy.rule import Element, Rule, Service
from policy.selector import Selector
from policy.traffic import denied_icmp_service, icmp_service, port_services
from policy.unenforced import (
    authentication,
    group,
    listener,
    log_value,
    refuse_in_denials,
    service,
    tls_context,
)

_MOST = 40
"""Entries in one list of ports or ICMP types."""


class _Parsed(fields.Field[Any]):
    """What a function of policy.fields, peers or traffic makes of it."""

    def __init__(self, parse: Callable[[Any], Any], **options: Any) -> None:
        super().__init__(**options)
        self._parse = parse

    def deserialize(self, value: Any, attr: Any = None, data: Any = None, **options: Any) -> Any:
        """The function judges alone: there are no validators to be asked afterwards."""
        if value is None:
            return super().deserialize(value, attr, data, **options)
        try:
            return self._parse(value)
        except CiliateError as error:
            raise _carrying(error) from error


def _carrying(error: CiliateError) -> ValidationError:
    """marshmallow gathers what it is given under the path it has come to; here that is the whole error."""
    messages: Any = [error]
    return ValidationError(messages)


class _Part(Schema):
    """An object with no other members than its fields, none of which has to be there. Of each list null is absent, and
    both differ from empty."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._by_key = {field.data_key or name: (name, field) for name, field in self.fields.items()}

    def load(self, data: Any, **_: Any) -> Any:
        """What `make` makes of its members. Raises ValidationError for the first that is wrong: no other is told.
        marshmallow's own gathers them all, between hooks, for a third of the time that a rule takes."""
        try:
            only_known(data, self._by_key)
        except CiliateError as error:
            raise _carrying(error) from error
        members = {}
        for key, (name, field) in self._by_key.items():
            if key in data:
                try:
                    members[name] = field.deserialize(data[key], key, data)
                except ValidationError as error:
                    raise ValidationError({key: error.messages}) from error
        return self.make(members)

    def make(self, members: dict[str, Any]) -> Any:
        """By the fields' names, those that are there."""
        return members


_NO_ENTRY = InvalidInput(
    "null is no entry of a list", hint="write what it shall say, or leave it out: [] is the empty list"
)


def _list(item: fields.Field[Any], name: str | None = None, **options: Any) -> fields.Field[Any]:
    item.error_messages["null"] = _carrying(_NO_ENTRY).messages
    return fields.List(
        item, data_key=name, allow_none=True, error_messages={"invalid": "must be a list"}, **options
    )


def _short_list(item: fields.Field[Any], name: str) -> fields.Field[Any]:
    too_long = f"more than {_MOST}: write a second element"
    return _list(item, name, validate=lambda found: validate.Length(max=_MOST, error=too_long)(found or ()))


class _PortsSchema(_Part):
    """What stands in toPorts of a denying element."""

    ports = _short_list(_Parsed(port_services), "ports")
    rules = _Parsed(refuse_in_denials, allow_none=True)
    serverNames: fields.Field[Any] = _Parsed(refuse_in_denials, allow_none=True)
    terminatingTLS = _Parsed(refuse_in_denials, allow_none=True)
    originatingTLS = _Parsed(refuse_in_denials, allow_none=True)
    listener = _Parsed(refuse_in_denials, allow_none=True)

    def make(self, data: dict[str, Any]) -> tuple[Service, ...]:
        return tuple(service for port in data.get("ports") or () for service in port)


class _AllowedPortsSchema(_PortsSchema):
    rules = _Parsed(l7_rules, allow_none=True)
    serverNames = _list(_Parsed(server_name))
    terminatingTLS = _Parsed(tls_context, allow_none=True)
    originatingTLS = _Parsed(tls_context, allow_none=True)
    listener = _Parsed(listener, allow_none=True)
    egress = False

    def make(self, data: dict[str, Any]) -> tuple[Service, ...]:
        services: tuple[Service, ...] = super().make(data)
        rules = data.get("rules")
        if rules is not None:
            try:
                refuse_misplaced(rules, services, egress=self.egress)
            except CiliateError as error:
                raise ValidationError({"rules": [error]}) from error
        if data.get("listener") and (rules is not None or not self.egress):
            raise ValidationError({"listener": ["is for egress, and excludes rules"]})
        if data.get("serverNames") and rules is not None and not data.get("terminatingTLS"):
            raise ValidationError({"serverNames": ["exclude rules, unless TLS ends here (terminatingTLS)"]})
        return services


class _EgressPortsSchema(_AllowedPortsSchema):
    egress = True


class _IcmpSchema(_Part):
    """What stands in icmps of a denying element."""

    types = _short_list(_Parsed(denied_icmp_service), "fields")

    def make(self, data: dict[str, Any]) -> tuple[Service, ...]:
        return tuple(data.get("types") or ())


class _AllowedIcmpSchema(_IcmpSchema):
    types = _short_list(_Parsed(icmp_service), "fields")


_PEER_LISTS = ("endpoints", "cidrs", "cidr_sets", "entities", "nodes", "groups", "services", "fqdns")


class _ElementSchema(_Part):
    ports = _list(fields.Nested(_PortsSchema), "toPorts")
    icmps = _list(fields.Nested(_IcmpSchema))

    def peer_lists(self, data: Mapping[str, Any]) -> dict[str, list[Selector]]:
        """Those that are there, by their names in the rule."""
        given = [name for name in _PEER_LISTS if data.get(name) is not None]
        return {self.fields[name].data_key or name: data[name] for name in given}

    def make(self, data: dict[str, Any]) -> Element:
        """No peer list: anybody, provided that something else restricts; an empty one: nobody, whatever stands in
        another."""
        given = self.peer_lists(data)
        filled = [name for name, peers in given.items() if peers]
        if len(filled) > 1:
            raise ValidationError(f"{' and '.join(filled)} exclude each other: write two elements")
        listed = data.get("ports") or data.get("icmps")
        if data.get("ports") and data.get("icmps"):
            raise ValidationError("toPorts and icmps exclude each other: write two elements")
        services = None if not listed else tuple(service for part in listed for service in part)
        requires = tuple(sorted({one for part in data.get("requires") or () for one in part.requirements}))
        by_label = self.fields["endpoints"].data_key
        if requires and by_label not in given and (given or listed):
            alone = f"narrows {by_label} only, and here there is none: write it into an element of its own"
            raise ValidationError({self.fields["requires"].data_key: [alone]})
        if given:
            return Element(() if len(filled) < len(given) else tuple(given[filled[0]]), services, requires)
        return Element(None if services else (), services, requires)


class _IngressDenySchema(_ElementSchema):
    endpoints = _list(_Parsed(selector), "fromEndpoints")
    requires = _list(_Parsed(selector), "fromRequires")
    cidrs = _list(_Parsed(cidr), "fromCIDR")
    cidr_sets = _list(_Parsed(cidr_set), "fromCIDRSet")
    entities = _list(_Parsed(entity), "fromEntities")
    nodes = _list(_Parsed(node_selector), "fromNodes")
    groups = _list(_Parsed(group), "fromGroups")


class _IngressSchema(_IngressDenySchema):
    ports = _list(fields.Nested(_AllowedPortsSchema), "toPorts")
    icmps = _list(fields.Nested(_AllowedIcmpSchema))
    authentication = _Parsed(authentication, allow_none=True)


class _EgressDenySchema(_ElementSchema):
    endpoints = _list(_Parsed(selector), "toEndpoints")
    requires = _list(_Parsed(selector), "toRequires")
    cidrs = _list(_Parsed(cidr), "toCIDR")
    cidr_sets = _list(_Parsed(cidr_set), "toCIDRSet")
    entities = _list(_Parsed(entity), "toEntities")
    nodes = _list(_Parsed(node_selector), "toNodes")
    groups = _list(_Parsed(group), "toGroups")
    services = _list(_Parsed(service), "toServices")
    fqdns: fields.Field[Any] = _Parsed(refuse_in_denials, data_key="toFQDNs", allow_none=True)


class _EgressSchema(_EgressDenySchema):
    ports = _list(fields.Nested(_EgressPortsSchema), "toPorts")
    icmps = _list(fields.Nested(_AllowedIcmpSchema))
    fqdns = _list(_Parsed(dns_name), "toFQDNs")
    authentication = _Parsed(authentication, allow_none=True)


class _DefaultDenySchema(_Part):
    ingress = _Parsed(truth, allow_none=True)
    egress = _Parsed(truth, allow_none=True)


class RuleSchema(_Part):
    endpointSelector = _Parsed(selector, allow_none=True)
    nodeSelector = _Parsed(node_selector, allow_none=True)
    ingress = _list(fields.Nested(_IngressSchema))
    ingressDeny = _list(fields.Nested(_IngressDenySchema))
    egress = _list(fields.Nested(_EgressSchema))
    egressDeny = _list(fields.Nested(_EgressDenySchema))
    enableDefaultDeny = fields.Nested(_DefaultDenySchema, allow_none=True)
    labels = _Parsed(rule_labels, allow_none=True)
    description = fields.String(allow_none=True, error_messages={"invalid": "must be text"})
    log = _Parsed(log_value, allow_none=True)

    def make(self, data: dict[str, Any]) -> Rule:
        subjects = [data[name] for name in ("endpointSelector", "nodeSelector") if data.get(name) is not None]
        if not subjects:
            raise ValidationError({"endpointSelector": ["a rule needs one: {} selects all"]})
        if len(subjects) > 1:
            raise ValidationError("endpointSelector and nodeSelector exclude each other: write two rules")
        lists = {Direction.INGRESS: ("ingress", "ingressDeny"), Direction.EGRESS: ("egress", "egressDeny")}
        if all(data.get(name) is None for names in lists.values() for name in names):
            raise ValidationError("a rule needs at least one of ingress, ingressDeny, egress, egressDeny")
        said = data.get("enableDefaultDeny") or {}
        wanted = {Direction.INGRESS: said.get("ingress"), Direction.EGRESS: said.get("egress")}
        return Rule(
            subject=subjects[0],
            allows={direction: tuple(data.get(allow) or ()) for direction, (allow, _) in lists.items()},
            denies={direction: tuple(data.get(deny) or ()) for direction, (_, deny) in lists.items()},
            default_deny=frozenset(
                direction
                for direction, names in lists.items()
                if any(map(data.get, names)) and wanted[direction] is not False
            ),
            labels=data.get("labels") or rule_labels(None),
        )
