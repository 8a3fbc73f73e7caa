"""Fields of Cilium's schema that mean something there and nothing here yet. PURE.

They are read as strictly as the others, and then refused by name: half enforced would be worse than not. Errors are
those of policy.fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from model.errors import InvalidInput, Unsupported
from policy.fields import each, given, inside, only_known, text
from policy.http import secret
from policy.peers import node_selector
from policy.selector import LabelSelector

NO_NODES = "rules about nodes are not enforced yet"
NO_GROUPS = "groups of a cloud provider do not exist here"
NO_TLS = "TLS is not inspected yet"

UNENFORCED = {
    "nodeSelector": "rules about the host itself are not enforced yet",
    "log": "policy log values are not available yet",
    "fromNodes": NO_NODES,
    "toNodes": NO_NODES,
    "fromGroups": NO_GROUPS,
    "toGroups": NO_GROUPS,
    "toServices": "services are not available yet",
    "toFQDNs": "rules by DNS name are not enforced yet",
    "authentication": "mutual authentication is not available",
    "rules": "rules about HTTP, DNS or Kafka are not enforced yet, and enforcing only their ports would allow too much",
    "serverNames": "rules about TLS server names are not enforced yet",
    "terminatingTLS": NO_TLS,
    "originatingTLS": NO_TLS,
    "listener": "there are no custom proxies",
}

_OTHER_NODES = "this host is the entity host; name other machines by their addresses, in a CIDR"
_CIDRS = "list their addresses in a CIDR"
_EVERY_PORT = "leave it out to allow all that is said at these ports"

INSTEAD = {
    "nodeSelector": "say in the containers' rules what the entity host may reach, and be reached by",
    "fromNodes": _OTHER_NODES,
    "toNodes": _OTHER_NODES,
    "fromGroups": _CIDRS,
    "toGroups": _CIDRS,
    "toServices": "name the containers behind it in toEndpoints, or its addresses in toCIDR",
    "toFQDNs": "name its addresses in toCIDR",
    "rules": _EVERY_PORT,
    "serverNames": _EVERY_PORT,
    "terminatingTLS": _EVERY_PORT,
    "originatingTLS": _EVERY_PORT,
    "listener": _EVERY_PORT,
}
"""What can be written until then; the others can be left out."""

_ELEMENTS = ("ingress", "ingressDeny", "egress", "egressDeny")


def refuse_unenforced(rule: Mapping[str, Any], path: str) -> None:
    """The first such field of a rule that is otherwise right."""
    for place, part in _parts(rule, path):
        for name, value in part.items():
            if name in UNENFORCED and _says(name, value):
                hint = INSTEAD.get(name, "leave it out")
                raise Unsupported(UNENFORCED[name], path=f"{place}.{name}", hint=hint)


def _says(name: str, value: Any) -> bool:
    """Whether there is anything to enforce. An empty list of peers says "nobody"."""
    if value is None:
        return False
    match name:
        case "rules":
            return any(rules is not None for rules in value.values())
        case "authentication":
            return bool(value["mode"] != "disabled")
        case "log":
            return bool(value.get("value"))
        case "serverNames":
            return bool(value)
        case _:
            return True


def refuse_in_denials(_: Any) -> None:
    raise InvalidInput(
        "a denial is about peers and ports only",
        hint="deny the ports, or allow less: what nothing allows is denied",
    )


def _parts(rule: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield path, rule
    for name in _ELEMENTS:
        for number, element in enumerate(rule.get(name) or ()):
            yield f"{path}.{name}[{number}]", element
            for at, part in enumerate(element.get("toPorts") or ()):
                yield f"{path}.{name}[{number}].toPorts[{at}]", part


@dataclass(frozen=True, slots=True)
class ServiceName:
    """A Kubernetes service, by name or by its labels."""

    namespace: str
    name: str = ""
    selector: LabelSelector | None = None


def service(data: Any) -> ServiceName:
    only_known(data, ("k8sService", "k8sServiceSelector"))
    kinds = [kind for kind in ("k8sService", "k8sServiceSelector") if data.get(kind) is not None]
    if len(kinds) != 1:
        raise InvalidInput("needs one of k8sService and k8sServiceSelector")
    (kind,) = kinds
    return inside(kind, _named_service if kind == "k8sService" else _selected_service, data[kind])


def _named_service(data: Any) -> ServiceName:
    only_known(data, ("serviceName", "namespace"))
    return ServiceName(
        text(given(data, "namespace", ""), "namespace"), text(data.get("serviceName"), "serviceName")
    )


def _selected_service(data: Any) -> ServiceName:
    only_known(data, ("selector", "namespace"))
    namespace = text(given(data, "namespace", ""), "namespace")
    return ServiceName(namespace, selector=inside("selector", node_selector, data.get("selector")))


@dataclass(frozen=True, slots=True)
class CloudGroup:
    """Security groups of AWS."""

    region: str
    labels: tuple[tuple[str, str], ...]
    ids: tuple[str, ...]
    names: tuple[str, ...]


def group(data: Any) -> CloudGroup:
    only_known(data, ("aws",))
    return inside("aws", _aws_group, data.get("aws"))


def _aws_group(data: Any) -> CloudGroup:
    only_known(data, ("labels", "securityGroupsIds", "securityGroupsNames", "region"))
    labels = given(data, "labels", {})
    if not isinstance(labels, Mapping):
        raise InvalidInput("must be an object", path="labels")
    return CloudGroup(
        text(given(data, "region", ""), "region"),
        tuple((key, text(value, f"labels.{key}")) for key, value in labels.items()),
        tuple(each(data.get("securityGroupsIds"), text, "securityGroupsIds")),
        tuple(each(data.get("securityGroupsNames"), text, "securityGroupsNames")),
    )


def authentication(data: Any) -> str:
    only_known(data, ("mode",))
    modes = ("disabled", "required", "test-always-fail")
    if data.get("mode") not in modes:
        raise InvalidInput("is no mode", path="mode", hint=f"write {', '.join(modes)}")
    return text(data["mode"])


def log_value(data: Any) -> str:
    only_known(data, ("value",))
    value = text(given(data, "value", ""), "value")
    if len(value) > 32:
        raise InvalidInput("is longer than 32 characters", path="value")
    return value


@dataclass(frozen=True, slots=True)
class TlsContext:
    """Names of files in a secret."""

    secret: str
    trusted_ca: str
    certificate: str
    private_key: str


def tls_context(data: Any) -> TlsContext:
    only_known(data, ("secret", "trustedCA", "certificate", "privateKey"))
    if data.get("secret") is None:
        raise InvalidInput("is missing", path="secret")
    files = (text(given(data, name, ""), name) for name in ("trustedCA", "certificate", "privateKey"))
    return TlsContext(inside("secret", secret, data["secret"]), *files)


@dataclass(frozen=True, slots=True)
class Listener:
    """A proxy that somebody else configures; a lower priority goes first, 0 is none."""

    config: str
    name: str
    priority: int = 0


def listener(data: Any) -> Listener:
    only_known(data, ("envoyConfig", "name", "priority"))
    priority = given(data, "priority", 0)
    if isinstance(priority, bool) or not isinstance(priority, int) or not 0 <= priority <= 100:
        raise InvalidInput("must be a number from 1 to 100", path="priority")
    config = inside("envoyConfig", _envoy_config, data.get("envoyConfig"))
    return Listener(config, text(data.get("name"), "name"), priority)


def _envoy_config(data: Any) -> str:
    only_known(data, ("kind", "name"))
    kinds = ("CiliumEnvoyConfig", "CiliumClusterwideEnvoyConfig")
    if given(data, "kind", kinds[0]) not in kinds:
        raise InvalidInput("is no kind", path="kind", hint=f"write {' or '.join(kinds)}")
    return text(data.get("name"), "name")
