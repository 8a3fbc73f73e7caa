"""Peers in rules: labels, entities, prefixes. PURE.

Each function takes what JSON gave and returns a selector. Errors are those of policy.fields."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import AddressValueError, IPv4Network, IPv6Network, NetmaskValueError, ip_network
from typing import Any
from weakref import WeakValueDictionary

from model.errors import InvalidInput, Unsupported
from model.identity import Reserved
from model.labels import ANY, CIDR, split_source
from model.network import IPNetwork
from policy.fields import each, given, inside, is_number, near, only_known, shown, text
from policy.kubernetes import NO_NAMESPACES
from policy.selector import (
    CidrSelector,
    Entity,
    EntitySelector,
    LabelSelector,
    Operator,
    Requirement,
    covers,
)

NO_CIDR_GROUPS = "CIDR groups do not exist here: list the CIDRs"

FOREIGN = {
    "k8s": "there is no Kubernetes here: write container:KEY for a container's label, compose:service for a Compose "
    "service, nomad:job for a Nomad job",
    "node": "rules about nodes are not enforced yet",
    "cidrgroup": NO_CIDR_GROUPS,
    "cidr": "write prefixes into fromCIDR or toCIDR",
    "fqdn": "rules by DNS name are not enforced yet",
    "cni": "no label has this source here",
    "gen": "no label has this source here",
    "directory": "no label has this source here",
}
"""Sources of labels that Cilium knows, and that would select nothing here."""

_FOREIGN_KEYS = {
    "io.kubernetes.pod.namespace": NO_NAMESPACES,
    "io.cilium.k8s.namespace.labels.": NO_NAMESPACES,
    "io.cilium.k8s.policy.cluster": "the cluster is one: leave it out",
    "io.cilium.k8s.policy.serviceaccount": "there are no service accounts here: give the containers a label",
    "com.docker.compose.": "write compose:project or compose:service; or container:KEY, if CILIATE_LABELS takes it in",
    "com.hashicorp.nomad.": "write nomad:job, nomad:group, nomad:task or nomad:namespace; or container:KEY, if "
    "CILIATE_LABELS takes it in",
}
"""How keys begin that Cilium gives to pods, and Compose and Nomad to containers: no identity has them."""

ABSENT = {
    "kube-apiserver": "no Kubernetes runs here: name its addresses in a CIDR",
    "ingress": "no Kubernetes runs here, and so no Ingress proxy: name the proxy by its labels",
}
"""Entities of Cilium's that nothing here can be."""

KEYS = {
    "reserved": tuple(one.label.key for one in Reserved if one is not Reserved.UNKNOWN),
    "network": ("id",),
    "compose": ("project", "service"),
    "nomad": ("job", "group", "task", "namespace"),
}
"""All keys that ciliate gives out under these sources; another one is a slip of the pen."""


_known: WeakValueDictionary[str, LabelSelector] = WeakValueDictionary()
"""Selectors that somebody still holds, by what is written: the same few stand in thousands of rules."""


def selector(data: Any) -> LabelSelector:
    """Of containers, and of what else has labels here."""
    written = repr(data)
    known = _known.get(written)
    if known is None:
        known = _known[written] = _selector(data, label_name)
    return known


def node_selector(data: Any) -> LabelSelector:
    """Of nodes or services, whose labels may be any."""
    return _selector(data, _any_name)


Named = Callable[[Any, str], tuple[str, str]]
"""A key's source and the rest, from what is written and its path."""


def _selector(data: Any, named: Named) -> LabelSelector:
    only_known(data, ("matchLabels", "matchExpressions"))
    labels = given(data, "matchLabels", {})
    if not isinstance(labels, Mapping):
        raise InvalidInput("must be an object", path="matchLabels", hint='write {"KEY": "VALUE"}')
    requirements = [
        _with_values(*named(name, path), Operator.IN, ("" if value is None else text(value, path),), path)
        for name, value in labels.items()
        for path in (f"matchLabels.{name}",)
    ]
    requirements += each(
        data.get("matchExpressions"), lambda one: requirement(one, named), "matchExpressions"
    )
    refuse_contradiction(requirements)
    return LabelSelector(tuple(requirements))


def requirement(data: Any, named: Named) -> Requirement:
    only_known(data, ("key", "operator", "values"))
    source, key = named(data.get("key"), "key")
    if data.get("operator") not in list(Operator):
        raise InvalidInput(
            f"{shown(data.get('operator'))} is no operator",
            path="operator",
            hint=f"write {', '.join(Operator)}",
        )
    operator = Operator(data["operator"])
    values = tuple(sorted(set(each(data.get("values"), text, "values"))))
    if operator in (Operator.IN, Operator.NOT_IN) and not values:
        raise InvalidInput(f"{operator} needs at least one value", path="values")
    if operator in (Operator.EXISTS, Operator.DOES_NOT_EXIST) and values:
        raise InvalidInput(f"{operator} takes no values", path="values", hint="write In or NotIn")
    return _with_values(source, key, operator, values, "values")


def _with_values(
    source: str, key: str, operator: Operator, values: tuple[str, ...], path: str
) -> Requirement:
    if source == "reserved" and operator is Operator.IN and "" not in values:
        raise InvalidInput(
            f"{shown(f'reserved:{key}={values[0]}')} selects nothing",
            path=path,
            hint=f'reserved labels have no value: write "reserved:{key}": "", or the entity {key}',
        )
    return Requirement(source, key, operator, values)


def label_name(name: Any, path: str) -> tuple[str, str]:
    """`[source:]key` of a selector. One that can select nothing here is refused, not left to deny in silence."""
    prefix, colon, rest = text(name, path).partition(":")
    source, key = (ANY, rest) if prefix == "unspec" and colon else split_source(name)
    if source == ANY:
        for start, hint in _FOREIGN_KEYS.items():
            if key.removeprefix("k8s:").startswith(start):
                raise InvalidInput(f"{shown(name)} selects nothing", path=path, hint=hint)
        if _is_prefix(key):
            raise InvalidInput(f"{shown(name)} selects nothing", path=path, hint=FOREIGN[CIDR])
    if colon and prefix in FOREIGN:
        raise InvalidInput(f"{shown(name)} selects nothing", path=path, hint=FOREIGN[prefix])
    if not key:
        raise InvalidInput(f"{shown(name)} has no key", path=path)
    if key not in KEYS.get(source, (key,)):
        raise InvalidInput(f"there is no label {shown(name)}", path=path, hint=near(key, KEYS[source]))
    return source, key


def _is_prefix(key: str) -> bool:
    """`10.0.0.0/8`: the key of a label that no selector of labels matches."""
    try:
        return "/" in key and bool(ip_network(key, strict=False))
    except ValueError:
        return False


def _any_name(name: Any, path: str) -> tuple[str, str]:
    if not text(name, path):
        raise InvalidInput("has no key", path=path)
    return ANY, text(name)


def refuse_contradiction(requirements: Iterable[Requirement]) -> None:
    """Requirements about one key that no labels meet together."""
    by_name: dict[tuple[str, str], list[Requirement]] = {}
    for one in requirements:
        by_name.setdefault((one.source, one.key), []).append(one)
    for (source, key), about in by_name.items():
        if _exclude_each_other(source, about):
            raise InvalidInput(
                f"the requirements about {shown(key)} contradict each other",
                hint="no labels meet them all: the selector would select nothing",
            )


def _exclude_each_other(source: str, about: Sequence[Requirement]) -> bool:
    """`any:` may be met by several labels, of different sources."""
    operators = {one.operator for one in about}
    wanted = [set(one.values) for one in about if one.operator is Operator.IN]
    unwanted = {value for one in about if one.operator is Operator.NOT_IN for value in one.values}
    if Operator.DOES_NOT_EXIST in operators and operators & {Operator.IN, Operator.EXISTS}:
        return True
    if any(values <= unwanted for values in wanted):
        return True
    return source != ANY and bool(wanted) and set.intersection(*wanted) <= unwanted


def entity(value: Any) -> EntitySelector:
    if isinstance(value, str) and value in ABSENT:
        raise InvalidInput(f"there is no {value} here", hint=ABSENT[value])
    if value not in list(Entity):
        raise InvalidInput(f"{shown(value)} is no entity", hint=near(shown(value), list(Entity)))
    return EntitySelector(Entity(value))


def cidr(value: Any) -> CidrSelector:
    """A prefix, or one address."""
    return CidrSelector(_prefix(value))


def cidr_set(data: Any) -> CidrSelector:
    only_known(data, ("cidr", "except", "cidrGroupRef", "cidrGroupSelector"))
    _refuse_groups(data)
    whole = inside("cidr", lambda value: _prefix(value, length=True), data.get("cidr"))

    def hole(value: Any) -> IPNetwork:
        inner = _prefix(value, length=True)
        if not covers(whole, inner):
            raise InvalidInput(f"{inner} does not lie inside {whole}")
        if inner == whole:
            raise InvalidInput(f"nothing of {whole} is left", hint="leave the whole element out")
        return inner

    holes = set(each(data.get("except"), hole, "except"))
    return CidrSelector(
        whole, tuple(sorted(holes, key=lambda one: (int(one.network_address), one.prefixlen)))
    )


def _refuse_groups(data: Mapping[str, Any]) -> None:
    kinds = [name for name in ("cidr", "cidrGroupRef", "cidrGroupSelector") if data.get(name) is not None]
    if len(kinds) > 1:
        raise InvalidInput(f"{' and '.join(kinds)} exclude each other", hint="write two elements")
    if data.get("cidrGroupRef") is not None:
        text(data["cidrGroupRef"], "cidrGroupRef")
    if data.get("cidrGroupSelector") is not None:
        inside("cidrGroupSelector", node_selector, data["cidrGroupSelector"])
    if kinds and kinds != ["cidr"]:
        raise Unsupported(NO_CIDR_GROUPS, path=kinds[0])


def _prefix(value: Any, *, length: bool = False) -> IPNetwork:
    """`length`: the prefix length has to be written. Bits beyond it are cut off, as Cilium does."""
    written = text(value)
    address, slash, bits = written.partition("/")
    if length and not slash:
        raise InvalidInput(f"{shown(written)} has no prefix length", hint="write /32 or /128 for one address")
    try:
        if "%" in written or (slash and not is_number(bits)):
            raise AddressValueError("the length is a number, and interfaces have no part in it")
        if ":" not in address:
            return IPv4Network(written, strict=False)
        prefix = IPv6Network(written, strict=False)
    except (AddressValueError, NetmaskValueError) as error:
        raise InvalidInput(
            f"{shown(written)} is no prefix", hint="write 192.0.2.0/24 or 2001:db8::/32"
        ) from error
    if prefix.network_address.ipv4_mapped is not None and prefix.prefixlen >= 96:
        raise InvalidInput(f"{shown(written)} is an IPv4 address in IPv6 clothes", hint="write it as IPv4")
    return prefix
