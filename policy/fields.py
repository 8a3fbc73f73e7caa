"""The values inside rules: selectors, ports, ICMP types, prefixes, labels. PURE.

Each function takes what JSON or YAML gave and returns what the engine knows, or raises InvalidInput or Unsupported
with a path that starts at the value."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from difflib import get_close_matches
from ipaddress import AddressValueError, IPv4Network, IPv6Network, NetmaskValueError
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
        if name in names or value is None:
            continue
        if name not in LATER:
            raise InvalidInput("no such field", path=str(name), hint=_near(str(name), names))
        if value or name not in HARMLESS_EMPTY:
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


def _near(text: str, names: Collection[str]) -> str:
    near = get_close_matches(text, names, 1)
    return f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(names)}"


def _text(value: Any, path: str = "") -> str:
    if value is None:
        raise InvalidInput("is missing", path=path)
    if not isinstance(value, str):
        raise InvalidInput("must be text", path=path, hint=f'write it in quotes: "{value}"')
    return value


def selector(data: Any) -> LabelSelector:
    only_known(data, ("matchLabels", "matchExpressions"))
    labels = data.get("matchLabels") or {}
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
            f"{data.get('operator')!r} is no operator", path="operator", hint=f"write {', '.join(Operator)}"
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
        raise InvalidInput(f"{name!r} selects nothing", path=path, hint=FOREIGN[prefix])
    source, key = (ANY, rest) if prefix == "unspec" and colon else split_source(name)
    if not key:
        raise InvalidInput(f"{name!r} has no key", path=path)
    if key not in KEYS.get(source, (key,)):
        raise InvalidInput(f"there is no label {name!r}", path=path, hint=_near(key, KEYS[source]))
    return source, key


def refuse_contradiction(requirements: Sequence[Requirement]) -> None:
    """Two requirements about one key that nobody meets. `any:` may be met by two labels of different sources."""
    for one in requirements:
        for other in requirements:
            if (one.source, one.key) == (other.source, other.key) and _exclude_each_other(one, other):
                raise InvalidInput(
                    f"{one.operator} and {other.operator} of {one.key!r} contradict each other",
                    hint="no labels meet both: the selector would select nothing",
                )


def _exclude_each_other(one: Requirement, other: Requirement) -> bool:
    match one.operator, other.operator:
        case (Operator.IN | Operator.EXISTS), Operator.DOES_NOT_EXIST:
            return True
        case Operator.IN, Operator.NOT_IN:
            return set(one.values) <= set(other.values)
        case Operator.IN, Operator.IN:
            return one.source != ANY and set(one.values).isdisjoint(other.values)
        case _:
            return False


def entity(value: Any) -> EntitySelector:
    if value not in list(Entity):
        raise InvalidInput(f"{value!r} is no entity", hint=_near(str(value), list(Entity)))
    return EntitySelector(Entity(value))


def services(data: Any) -> tuple[Service, ...]:
    """One port or range, for one protocol or, with ANY, for each that has ports."""
    only_known(data, ("port", "endPort", "protocol"))
    name = _text(data.get("protocol") or "ANY", "protocol").upper()
    if name in ("ICMP", "ICMPV6"):
        raise InvalidInput(f"{name} has no ports", path="protocol", hint="write icmps beside toPorts")
    if name != "ANY" and name not in PROTOCOLS:
        raise InvalidInput(f"{name!r} is no protocol", path="protocol", hint="write TCP, UDP, SCTP or ANY")
    first, last = _port(data.get("port")), data.get("endPort") or 0
    if not last:
        last = first
    elif not isinstance(last, int) or isinstance(last, bool):
        raise InvalidInput("must be a number", path="endPort")
    elif not first:
        raise InvalidInput("a range needs a port to begin with", path="endPort")
    elif not first <= last <= LAST_PORT:
        raise InvalidInput(f"{last} is not from {first} to {LAST_PORT}", path="endPort")
    if first == 0:
        return (Service(),) if name == "ANY" else (Service(PROTOCOLS[name]),)
    numbers = PROTOCOLS.values() if name == "ANY" else [PROTOCOLS[name]]
    return tuple(Service(number, first, last) for number in numbers)


def _port(port: Any) -> int:
    """0: every port. Ports are strings in rules; a plain number is taken too. No other base than ten: `010` means
    8 to some readers and 10 to others, so it is refused."""
    if port is None or isinstance(port, bool) or not isinstance(port, str | int):
        raise InvalidInput(
            "must be a number from 1 to 65535, as text", path="port", hint='"0" means every port'
        )
    text = str(port)
    if not (text.isascii() and text.isdecimal()):
        if any(char.isalpha() for char in text):
            raise Unsupported(f"{text!r}: named ports are not available yet", path="port", hint="write its number")
        raise InvalidInput(f"{text!r} is no port", path="port", hint="a range is port and endPort")
    if len(text) > 1 and text.startswith("0"):
        raise InvalidInput(
            f"{text!r} begins with 0, which some read as octal", path="port", hint="write it without"
        )
    if int(text) > LAST_PORT:
        raise InvalidInput(f"{text} is larger than {LAST_PORT}", path="port")
    return int(text)


def icmp_service(data: Any) -> Service:
    only_known(data, ("type", "family"))
    family = data.get("family") or "IPv4"
    if family not in ICMP_TYPES:
        raise InvalidInput(f"{family!r} is no family", path="family", hint="write IPv4 or IPv6")
    kind = data.get("type")
    if isinstance(kind, str) and not (kind.isascii() and kind.isdecimal()):
        if kind not in ICMP_TYPES[family]:
            raise InvalidInput(
                f"{kind!r} is no ICMP type of {family}", path="type", hint=_near(kind, ICMP_TYPES[family])
            )
        kind = ICMP_TYPES[family][kind]
    if isinstance(kind, bool) or not isinstance(kind, str | int) or not 0 <= int(kind) <= 255:
        raise InvalidInput("must be a number from 0 to 255, or a name", path="type")
    return Service(ICMP if family == "IPv4" else ICMPV6, int(kind), int(kind))


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
    return CidrSelector(whole, tuple(sorted(holes, key=lambda one: (int(one.network_address), one.prefixlen))))


def _prefix(value: Any, *, length: bool = False) -> IPNetwork:
    """`length`: the prefix length has to be written. Bits beyond it are cut off, as Cilium does."""
    text = _text(value)
    address, slash, bits = text.partition("/")
    if length and not slash:
        raise InvalidInput(f"{text!r} has no prefix length", hint="write /32 or /128 for one address")
    if (slash and not (bits.isascii() and bits.isdecimal())) or "%" in text:
        raise InvalidInput(f"{text!r} is no prefix", hint="write 192.0.2.0/24 or 2001:db8::/32")
    try:
        if ":" not in address:
            return IPv4Network(text, strict=False)
        prefix = IPv6Network(text, strict=False)
    except (AddressValueError, NetmaskValueError) as error:
        raise InvalidInput(f"{text!r} is no prefix: {error}", hint="write 192.0.2.0/24 or 2001:db8::/32") from error
    if prefix.network_address.ipv4_mapped is not None and prefix.prefixlen >= 96:
        raise InvalidInput(f"{text!r} is an IPv4 address in IPv6 clothes", hint="write it as IPv4")
    return prefix


def rule_label(value: Any) -> Label:
    """`[source:]key[=value]`, or Cilium's {key, value, source}. They only name the rule, so any source will do; one
    that is not known is part of the key in both forms."""
    if isinstance(value, Mapping):
        only_known(value, ("key", "value", "source"))
        source, key = _text(value.get("source") or "", "source"), _text(value.get("key"), "key")
        text = f"{source}:{key}" if source else key
        content = _text(value.get("value") or "", "value")
    else:
        text, _, content = _text(value).partition("=")
    source, key = split_source(text.removeprefix("unspec:"))
    if not key:
        raise InvalidInput("a label needs a key", hint='write "key=value"')
    return Label(source, key, content)


def rule_labels(value: Any) -> Labels:
    return Labels(each(value, rule_label, ""))
