"""The values inside rules: selectors, ports, ICMP types, prefixes, labels. PURE.

Each function takes what JSON or YAML gave and returns what the engine knows, or raises InvalidInput or Unsupported
with a path that starts at the value."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from ipaddress import AddressValueError, IPv4Network, IPv6Network, NetmaskValueError
from reprlib import Repr
from typing import Any, TypeVar

from model.errors import CiliateError, InvalidInput, Unsupported
from model.identity import Reserved
from model.labels import ANY, Label, Labels, split_source
from model.network import IPNetwork
from policy.icmp import ICMP, ICMP_TYPES, ICMPV6
from policy.ports import LAST_PORT
from policy.rule import Service
from policy.selector import (
    CidrSelector,
    Entity,
    EntitySelector,
    LabelSelector,
    Operator,
    Requirement,
    covers,
)

T = TypeVar("T")

PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}

NO_DNS_NAMES = "rules by DNS name are not enforced yet"
NO_NODES = "rules about nodes are not enforced yet"
NO_GROUPS = "groups of a cloud provider do not exist here: list their CIDRs"
NO_CIDR_GROUPS = "CIDR groups do not exist here: list the CIDRs"
NO_TLS = "TLS is not inspected yet"

LATER = {
    "toFQDNs": NO_DNS_NAMES,
    "toServices": "services are not available yet",
    "fromNodes": NO_NODES,
    "toNodes": NO_NODES,
    "nodeSelector": "rules about the host itself are not enforced yet",
    "fromGroups": NO_GROUPS,
    "toGroups": NO_GROUPS,
    "fromRequires": "it is not enforced: write the requirement into each fromEndpoints selector",
    "toRequires": "it is not enforced: write the requirement into each toEndpoints selector",
    "rules": "rules about HTTP, DNS or Kafka are not enforced yet, and enforcing only their ports would allow too much",
    "serverNames": "rules about TLS server names are not enforced yet",
    "terminatingTLS": NO_TLS,
    "originatingTLS": NO_TLS,
    "listener": "there are no custom proxies",
    "authentication": "mutual authentication is not available",
    "log": "policy log values are not available yet",
    "cidrGroupRef": NO_CIDR_GROUPS,
    "cidrGroupSelector": NO_CIDR_GROUPS,
}
"""Fields of Cilium's schema that mean something there and nothing here yet: half enforced would be worse than not."""

HARMLESS_EMPTY = frozenset({"rules", "serverNames", "fromRequires", "toRequires"})
"""Of those, the ones that say nothing when empty. An empty peer list says "nobody", so it is no such field."""

FOREIGN = {
    "k8s": "there is no Kubernetes here: write container:KEY for a container's label, compose:service for a Compose "
    "service, nomad:job for a Nomad job",
    "node": NO_NODES,
    "cidrgroup": NO_CIDR_GROUPS,
    "cidr": "write prefixes into fromCIDR or toCIDR",
    "fqdn": NO_DNS_NAMES,
    "cni": "no label has this source here",
    "gen": "no label has this source here",
    "directory": "no label has this source here",
}
"""Sources of labels that Cilium knows, and that would select nothing here."""

KEYS = {
    "reserved": tuple(one.label.key for one in Reserved if one is not Reserved.UNKNOWN),
    "network": ("id",),
    "compose": ("project", "service"),
    "nomad": ("job", "group", "task", "namespace"),
}
"""All keys that ciliate gives out under these sources; another one is a slip of the pen."""


def only_known(data: Any, names: Collection[str]) -> None:
    """`data` is an object that has no other members. null is the same as absent."""
    if not isinstance(data, Mapping):
        raise InvalidInput("must be an object")
    for name, value in data.items():
        if name in names:
            continue
        if name not in LATER:
            raise InvalidInput("no such field", path=name, hint=_near(name, names))
        if value is not None and (value or name not in HARMLESS_EMPTY):
            raise Unsupported(LATER[name], path=name)


def each(value: Any, parse: Callable[[Any], T], path: str) -> list[T]:
    """A list of what `parse` returns; null is the empty list."""
    if value is None:
        return []
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise InvalidInput("must be a list", path=path)
    found = []
    for number, item in enumerate(value):
        try:
            found.append(parse(item))
        except CiliateError as error:
            error.path = under(f"{path}[{number}]", error.path)
            raise
    return found


def under(path: str, below: str) -> str:
    return f"{path}.{below}" if path and below and not below.startswith("[") else path + below


_brief = Repr()
_brief.maxstring = _brief.maxother = _LONGEST_SHOWN = 80


def _shown(value: Any) -> str:
    """As it stands in an error's text: a value may be as large as a request."""
    return _brief.repr(value)


def _near(text: str, names: Collection[str]) -> str:
    near = get_close_matches(text[:_LONGEST_SHOWN], names, 1)
    return f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(names)}"


def _given(data: Mapping[str, Any], name: str, otherwise: Any) -> Any:
    """null is the same as absent; nothing else is, so that no slip passes for a wildcard."""
    value = data.get(name)
    return otherwise if value is None else value


def _text(value: Any, path: str = "") -> str:
    if value is None:
        raise InvalidInput("is missing", path=path)
    if not isinstance(value, str):
        raise InvalidInput(f"must be text, not {_shown(value)}", path=path, hint="write it in quotes")
    return value


def truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput("must be true or false")
    return value


def selector(data: Any) -> LabelSelector:
    only_known(data, ("matchLabels", "matchExpressions"))
    labels = _given(data, "matchLabels", {})
    if not isinstance(labels, Mapping):
        raise InvalidInput("must be an object", path="matchLabels", hint='write {"KEY": "VALUE"}')
    requirements = [
        Requirement(*label_name(name, path), Operator.IN, ("" if value is None else _text(value, path),))
        for name, value in labels.items()
        for path in (f"matchLabels.{name}",)
    ]
    requirements += each(data.get("matchExpressions"), requirement, "matchExpressions")
    refuse_contradiction(requirements)
    return LabelSelector(tuple(requirements))


def requirement(data: Any) -> Requirement:
    only_known(data, ("key", "operator", "values"))
    source, key = label_name(data.get("key"), "key")
    if data.get("operator") not in list(Operator):
        raise InvalidInput(
            f"{_shown(data.get('operator'))} is no operator",
            path="operator",
            hint=f"write {', '.join(Operator)}",
        )
    operator = Operator(data["operator"])
    values = tuple(sorted(set(each(data.get("values"), _text, "values"))))
    if operator in (Operator.IN, Operator.NOT_IN) and not values:
        raise InvalidInput(f"{operator} needs at least one value", path="values")
    if operator in (Operator.EXISTS, Operator.DOES_NOT_EXIST) and values:
        raise InvalidInput(f"{operator} takes no values", path="values", hint="write In or NotIn")
    return Requirement(source, key, operator, values)


def label_name(name: Any, path: str) -> tuple[str, str]:
    """`[source:]key` of a selector. One that can select nothing here is refused, not left to deny in silence."""
    prefix, colon, rest = _text(name, path).partition(":")
    if colon and prefix in FOREIGN:
        raise InvalidInput(f"{_shown(name)} selects nothing", path=path, hint=FOREIGN[prefix])
    source, key = (ANY, rest) if prefix == "unspec" and colon else split_source(name)
    if not key:
        raise InvalidInput(f"{_shown(name)} has no key", path=path)
    if key not in KEYS.get(source, (key,)):
        raise InvalidInput(f"there is no label {_shown(name)}", path=path, hint=_near(key, KEYS[source]))
    return source, key


def refuse_contradiction(requirements: Iterable[Requirement]) -> None:
    """Requirements about one key that no labels meet together."""
    by_name: dict[tuple[str, str], list[Requirement]] = {}
    for one in requirements:
        by_name.setdefault((one.source, one.key), []).append(one)
    for (source, key), about in by_name.items():
        if _exclude_each_other(source, about):
            raise InvalidInput(
                f"the requirements about {_shown(key)} contradict each other",
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
    if value not in list(Entity):
        raise InvalidInput(f"{_shown(value)} is no entity", hint=_near(_shown(value), list(Entity)))
    return EntitySelector(Entity(value))


def services(data: Any) -> tuple[Service, ...]:
    """One port or range, for one protocol or, with ANY, for each that has ports."""
    only_known(data, ("port", "endPort", "protocol"))
    name = _text(_given(data, "protocol", ""), "protocol").upper() or "ANY"
    if name in ("ICMP", "ICMPV6"):
        raise InvalidInput(f"{name} has no ports", path="protocol", hint="write icmps beside toPorts")
    if name != "ANY" and name not in PROTOCOLS:
        raise InvalidInput(
            f"{_shown(name)} is no protocol", path="protocol", hint="write TCP, UDP, SCTP or ANY"
        )
    first, last = _ports(data)
    numbers = PROTOCOLS.values() if name == "ANY" else [PROTOCOLS[name]]
    return tuple(Service(number, first, last) for number in numbers)


def _ports(data: Mapping[str, Any]) -> tuple[int, int]:
    """The first and the last. Port 0 means all."""
    first, last = _port(data.get("port")), _given(data, "endPort", 0)
    if isinstance(last, bool) or not isinstance(last, int):
        raise InvalidInput("must be a number", path="endPort")
    if not last:
        return first, first or LAST_PORT
    if not first:
        raise InvalidInput("a range needs a port to begin with", path="endPort")
    if not first <= last <= LAST_PORT:
        raise InvalidInput(f"{last} is not from {first} to {LAST_PORT}", path="endPort")
    return first, last


def _port(port: Any) -> int:
    """0: every port. Ports are strings in rules; a plain number is taken too. No other base than ten: `010` means
    8 to some readers and 10 to others, so it is refused."""
    if port is None or isinstance(port, bool) or not isinstance(port, str | int):
        raise InvalidInput(
            "must be a number from 1 to 65535, as text", path="port", hint='"0" means every port'
        )
    text = str(port)
    if not _is_number(text):
        if any(char.isalpha() for char in text):
            raise Unsupported(
                f"{_shown(text)}: named ports are not available yet", path="port", hint="write its number"
            )
        raise InvalidInput(f"{_shown(text)} is no port", path="port", hint="a range is port and endPort")
    if len(text) > 1 and text.startswith("0"):
        raise InvalidInput(
            f"{_shown(text)} begins with 0, which some read as octal", path="port", hint="write it without"
        )
    if len(text) > len(str(LAST_PORT)) or int(text) > LAST_PORT:
        raise InvalidInput(f"{_shown(text)} is larger than {LAST_PORT}", path="port")
    return int(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def icmp_service(data: Any) -> Service:
    only_known(data, ("type", "family"))
    family = _text(_given(data, "family", ""), "family") or "IPv4"
    if family not in ICMP_TYPES:
        raise InvalidInput(f"{_shown(family)} is no family", path="family", hint="write IPv4 or IPv6")
    kind, names = data.get("type"), ICMP_TYPES[family]
    if isinstance(kind, str):
        if _is_number(kind) and len(kind) <= 3:
            kind = int(kind)
        elif kind in names:
            kind = names[kind]
        else:
            raise InvalidInput(
                f"{_shown(kind)} is no ICMP type of {family}", path="type", hint=_near(kind, names)
            )
    if isinstance(kind, bool) or not isinstance(kind, int) or not 0 <= kind <= 255:
        raise InvalidInput("must be a number from 0 to 255, or a name", path="type")
    return Service(ICMP if family == "IPv4" else ICMPV6, kind, kind)


def cidr(value: Any) -> CidrSelector:
    """A prefix, or one address."""
    return CidrSelector(_prefix(value))


def cidr_set(data: Any) -> CidrSelector:
    only_known(data, ("cidr", "except"))
    try:
        whole = _prefix(data.get("cidr"), length=True)
    except CiliateError as error:
        error.path = "cidr"
        raise

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


def _prefix(value: Any, *, length: bool = False) -> IPNetwork:
    """`length`: the prefix length has to be written. Bits beyond it are cut off, as Cilium does."""
    text = _text(value)
    address, slash, bits = text.partition("/")
    if length and not slash:
        raise InvalidInput(f"{_shown(text)} has no prefix length", hint="write /32 or /128 for one address")
    try:
        if "%" in text or (slash and not _is_number(bits)):
            raise AddressValueError("the length is a number, and interfaces have no part in it")
        if ":" not in address:
            return IPv4Network(text, strict=False)
        prefix = IPv6Network(text, strict=False)
    except (AddressValueError, NetmaskValueError) as error:
        raise InvalidInput(
            f"{_shown(text)} is no prefix", hint="write 192.0.2.0/24 or 2001:db8::/32"
        ) from error
    if prefix.network_address.ipv4_mapped is not None and prefix.prefixlen >= 96:
        raise InvalidInput(f"{_shown(text)} is an IPv4 address in IPv6 clothes", hint="write it as IPv4")
    return prefix


def rule_label(value: Any) -> Label:
    """`[source:]key[=value]`, or Cilium's {key, value, source}. They only name the rule, so any source will do; one
    that is not known is part of the key in both forms."""
    if isinstance(value, Mapping):
        only_known(value, ("key", "value", "source"))
        source, key = _text(_given(value, "source", ""), "source"), _text(value.get("key"), "key")
        text = f"{source}:{key}" if source else key
        content = _text(_given(value, "value", ""), "value")
    else:
        text, _, content = _text(value).partition("=")
    source, key = split_source(text.removeprefix("unspec:"))
    if not key:
        raise InvalidInput("a label needs a key", hint='write "key=value"')
    return Label(source, key, content)


def rule_labels(value: Any) -> Labels:
    labels = set(each(value, rule_label, ""))
    kept = Labels(labels)
    for label in labels:
        if label not in kept:
            raise InvalidInput(f"{_shown(label.key)} has two values", hint="keep one of them")
    return kept
