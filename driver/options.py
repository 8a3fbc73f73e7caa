"""Every option a user can give to a network (`-o`) or to an endpoint (`driver-opt`), and what Docker adds of
its own. PURE.

An option that nobody knows is refused with the nearest name, one that is not built yet with that reason: an
ignored option is a promise broken silently."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address
from typing import Any

from model.errors import InvalidInput, Unsupported
from model.labels import MADE_BY_CILIATE, SOURCES, Label, Labels, split_source
from model.network import IPAddress

GENERIC = "com.docker.network.generic"
"""Under this key Docker hands over the `-o` options of a network."""

INTERNAL = "com.docker.network.internal"
PORT_MAP = "com.docker.network.portmap"
NO_IPV6 = "com.docker.network.driver.private.no_proxy_6to4"
"""Engines from 28 on: another endpoint of the container answers for IPv6."""

ENGINE_NETWORK_KEYS = frozenset(
    {GENERIC, INTERNAL, "com.docker.network.enable_ipv4", "com.docker.network.enable_ipv6"}
)
ENGINE_ENDPOINT_KEYS = frozenset(
    {
        GENERIC,
        PORT_MAP,
        NO_IPV6,
        "com.docker.network.endpoint.exposedports",
        "com.docker.network.endpoint.macaddress",
        "com.docker.network.endpoint.dnsservers",
        "com.docker.network.endpoint.name",
        "com.docker.network.endpoint.sysctls",  # the engine itself applies them inside the container
    }
)

OPTION_PREFIX = "ciliate."

PROTOCOLS = {6: "tcp", 17: "udp", 132: "sctp"}

SMALLEST_MTU, LARGEST_MTU = 68, 65535
SMALLEST_MTU6 = 1280

_NETWORK_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """What `docker network create` asked for. None: not said."""

    id: str | None = None
    flat: bool | None = None
    internal: bool = False
    enforcement_always: bool = False
    host: bool = True
    world: bool = True
    inter_container: bool = True
    mtu: int = 0
    publish_ip: IPv4Address | None = None
    labels: Labels = field(default_factory=Labels)


@dataclass(frozen=True, slots=True)
class PortBinding:
    """One `-p` as Docker hands it over. `host_ip` None: no address was named. Any free port between
    `host_port` and `host_port_end`; both 0: any ephemeral one."""

    protocol: str
    port: int
    host_ip: IPAddress | None = None
    host_port: int = 0
    host_port_end: int = 0


@dataclass(frozen=True, slots=True)
class EndpointOptions:
    labels: Labels = field(default_factory=Labels)
    tags: tuple[str, ...] = ()


def network_options(options: Mapping[str, Any] | None) -> NetworkOptions:
    """From CreateNetwork's `Options`. InvalidInput's path is the option's key."""
    given = options or {}
    _refuse_unknown(
        [key for key, value in given.items() if isinstance(value, str)],
        ENGINE_NETWORK_KEYS,
        _NETWORK,
        "network",
    )
    user = given.get(GENERIC) or {}
    _refuse_unknown(user, ENGINE_NETWORK_KEYS, _NETWORK, "network")
    values: dict[str, Any] = {}
    for key, text in user.items():
        if key in _NETWORK:
            name, parse = _NETWORK[key]
            values[name] = _parsed(parse, key, text)
    mtus = {str(user[key]) for key in ("ciliate.mtu", "com.docker.network.driver.mtu") if key in user}
    if len(mtus) > 1:
        raise InvalidInput("two different MTUs are given", path="ciliate.mtu", hint="give one of them")
    result = NetworkOptions(internal=_engine_boolean(given.get(INTERNAL)), **values)
    if result.flat and result.id is not None:
        raise InvalidInput(
            "a flat network has no id of its own",
            path="ciliate.network",
            hint="leave out one of the two options",
        )
    return result


def endpoint_options(options: Mapping[str, Any] | None) -> EndpointOptions:
    """From CreateEndpoint's `Options`, where driver-opts lie beside Docker's own keys."""
    given = options or {}
    # Driver-opts are always text; what has another type is the engine's, now or in a later version.
    user = {key: value for key, value in given.items() if isinstance(value, str)}
    _refuse_unknown(user, ENGINE_ENDPOINT_KEYS, _ENDPOINT, "endpoint")
    values = {
        _ENDPOINT[key][0]: _parsed(_ENDPOINT[key][1], key, text)
        for key, text in user.items()
        if key in _ENDPOINT
    }
    return EndpointOptions(**values)


def port_bindings(options: Mapping[str, Any] | None) -> tuple[PortBinding, ...]:
    """The port map of CreateEndpoint, Join or ProgramExternalConnectivity; Docker sends the same in all. Raises
    InvalidInput, Unsupported."""
    try:
        return tuple(_port_binding(item) for item in (options or {}).get(PORT_MAP) or ())
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"the port map is not understood: {error!r}", path=PORT_MAP) from error


def refuse_labels(labels: Mapping[str, str]) -> None:
    """A container's own `ciliate.*` labels that nobody understands, or that ask for what cannot be done yet: a
    container that asked to be fenced in must not run unfenced. And those that speak in the name of ciliate, of which
    rules would hear nothing. Raises InvalidInput, Unsupported."""
    for key in labels:
        source = split_source(key)[0]
        if source in MADE_BY_CILIATE:
            raise InvalidInput(
                f"only ciliate gives labels of the source {source!r}",
                path=f"label {key}",
                hint="give the container a label of another name",
            )
        if not key.startswith(OPTION_PREFIX) or key in _LABELS:
            continue
        path = f"label {key}"
        reason = _unbuilt(key)
        if reason:
            raise Unsupported(reason, path=path, hint="remove the label")
        if key in _ENDPOINT:
            hint = f"give it as --network name=NETWORK,driver-opt={key}=..."
            raise InvalidInput("this is an option of the driver, not a label", path=path, hint=hint)
        if key in _NETWORK:
            hint = f"give it to the network: docker network create -o {key}=..."
            raise InvalidInput("this is an option of networks, not a label", path=path, hint=hint)
        near = difflib.get_close_matches(key, [*_LABELS, *_UNBUILT], n=1, cutoff=0.75)
        hint = f"did you mean {near[0]}?" if near else f"known is {', '.join(_LABELS)}"
        raise InvalidInput("ciliate knows no such label", path=path, hint=hint)


def tag_labels(labels: Mapping[str, str]) -> tuple[str, ...]:
    """`ciliate.tag=a,b` on a container: shown in flows, never identity."""
    return _tags(labels["ciliate.tag"]) if labels.get("ciliate.tag") else ()


def option_labels(text: str) -> Labels:
    """`k=v,k2=v2` -> labels of the source `opt`."""
    labels = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        source, colon, _ = word.partition("=")[0].partition(":")
        if colon and source in SOURCES:
            raise ValueError(f"{word!r}: labels given here have the source opt; write key=value")
        labels.append(Label.parse(word, default_source="opt"))
        if labels[-1].key.startswith(OPTION_PREFIX):
            raise ValueError(f"{word!r}: keys that begin with {OPTION_PREFIX} are options, not labels")
    return Labels(labels)


def _port_binding(item: Mapping[str, Any]) -> PortBinding:
    protocol = PROTOCOLS.get(item.get("Proto", 0))
    if protocol is None:
        raise Unsupported(
            f"port map with protocol {item.get('Proto')}", hint="tcp, udp and sctp can be published"
        )
    address = ip_address(item["HostIP"]) if item.get("HostIP") else None
    first, last = int(item.get("HostPort") or 0), int(item.get("HostPortEnd") or 0)
    return PortBinding(protocol, int(item["Port"]), address, first, max(first, last))


def _refuse_unknown(
    keys: Collection[str], engine: Collection[str], ours: Mapping[str, Any], what: str
) -> None:
    for key in keys:
        if key in ours or key in engine:
            continue
        reason = _unbuilt(key)
        if reason:
            raise Unsupported(reason, path=key, hint="leave the option out")
        if key in _FOREIGN:
            raise Unsupported(f"ciliate does not take this {what} option", path=key, hint=_FOREIGN[key])
        near = difflib.get_close_matches(key, [*ours, *_UNBUILT], n=1, cutoff=0.75)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(ours))}"
        raise InvalidInput(f"no such {what} option", path=key, hint=hint)


def _parsed(parse: Callable[[str], Any], key: str, text: object) -> Any:
    try:
        return parse(str(text).strip())
    except InvalidInput as error:
        raise InvalidInput(error.message, path=key, hint=error.hint) from None
    except ValueError as error:
        raise InvalidInput(str(error), path=key) from None


def _unbuilt(key: str) -> str:
    return next((reason for prefix, reason in _UNBUILT.items() if key.startswith(prefix)), "")


def _engine_boolean(value: object) -> bool:
    return value is True or (isinstance(value, str) and _boolean(value))


def _boolean(text: str) -> bool:
    """The spellings of Go's strconv.ParseBool, which compose files use for the bridge's options."""
    if text in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if text in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise ValueError(f"{text!r} is neither true nor false")


def _enforcement(text: str) -> bool:
    if text not in ("always", "default"):
        raise ValueError(f"{text!r} is neither always nor default")
    return text == "always"


def _mtu(text: str) -> int:
    mtu = int(text) if text.isascii() and text.isdigit() else -1
    if mtu != 0 and not SMALLEST_MTU <= mtu <= LARGEST_MTU:
        raise ValueError(f"{text!r} is no MTU between {SMALLEST_MTU} and {LARGEST_MTU}")
    return mtu


def _network_id(text: str) -> str:
    if not _NETWORK_ID.fullmatch(text):
        raise ValueError(f"{text!r} is no network id: letters, digits, '.', '_' and '-', 63 at most")
    if text == "flat":
        raise ValueError("flat is the id of all flat networks; use ciliate.flat=true")
    return text


def _tags(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, (part.strip() for part in text.split(",")))))


_NETWORK: dict[str, tuple[str, Callable[[str], Any]]] = {
    "ciliate.network": ("id", _network_id),
    "ciliate.flat": ("flat", _boolean),
    "ciliate.enforcement": ("enforcement_always", _enforcement),
    "ciliate.host": ("host", _boolean),
    "ciliate.world": ("world", _boolean),
    "ciliate.labels": ("labels", option_labels),
    "ciliate.mtu": ("mtu", _mtu),
    "com.docker.network.driver.mtu": ("mtu", _mtu),
    "com.docker.network.bridge.host_binding_ipv4": ("publish_ip", IPv4Address),
    "com.docker.network.bridge.enable_icc": ("inter_container", _boolean),
}

_ENDPOINT: dict[str, tuple[str, Callable[[str], Any]]] = {
    "ciliate.labels": ("labels", option_labels),
    "ciliate.tag": ("tags", _tags),
}

_LABELS = ("ciliate.tag",)
"""Options that a container's own labels may give."""

_UNBUILT = {
    "ciliate.bandwidth.": "bandwidth limits are not available yet",
    "ciliate.egress": "egress lists by name are not available yet",
}

_FOREIGN = {
    "com.docker.network.bridge.name": "ciliate has no bridge; leave the option out",
    "com.docker.network.bridge.enable_ip_masquerade": "set CILIATE_MASQUERADE for the whole host",
    "com.docker.network.bridge.default_bridge": "ciliate has no bridge; leave the option out",
    "com.docker.network.container_iface_prefix": "interfaces are called eth0, eth1 and so on",
    "com.docker.network.host_ipv4": "containers leave with the address of the route they take",
    "com.docker.network.host_ipv6": "containers leave with the address of the route they take",
    "com.docker.network.endpoint.ifname": "Docker does not pass the name on to network plugins",
}
