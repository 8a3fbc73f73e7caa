"""Every setting, in one table. The only place that reads the environment.

A setting is invalid, or belongs to a feature that does not exist yet: the agent refuses to start and lists
every problem at once, so that nobody fixes them one restart at a time."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from driver.plan import RoutingMode
from identity.labels import LabelFilter
from model.errors import InvalidInput
from store.consul_address import ConsulAddress

N = TypeVar("N", IPv4Network, IPv6Network)

_LONGEST_SOCKET = 107
"""Bytes of a unix socket's path (unix(7))."""


@dataclass(frozen=True, slots=True)
class Setting:
    """`parse` turns text into the value or raises ValueError with a sentence. `unbuilt` says why a setting
    cannot be used yet; any other value than the default is then refused. `live`: it may be changed while the agent
    runs, too. `secret`: its text is shown to nobody."""

    name: str
    default: str
    parse: Callable[[str], Any]
    help: str
    unbuilt: str = ""
    live: bool = False
    secret: bool = False


def _choice(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"{text!r} is none of {', '.join(allowed)}")
        return text

    return parse


def _boolean(text: str) -> bool:
    value = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(text.lower())
    if value is None:
        raise ValueError(f"{text!r} is neither true nor false")
    return value


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise ValueError(f"{text!r} is no whole number from {low} to {high}")
        return int(text)

    return parse


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", text):
        raise ValueError(f"{text!r} is no name: letters, digits, '.', '_' and '-', 63 at most")
    return text


def _optional_name(text: str) -> str:
    return _name(text) if text else ""


def _pool4(text: str) -> IPv4Network:
    return _unicast(IPv4Network(text))


def _pool6(text: str) -> IPv6Network:
    return _unicast(IPv6Network(text))


def _unicast(pool: N) -> N:
    """Raises ValueError for what no container can have as an address."""
    if pool.is_multicast or pool.is_loopback or pool.is_link_local or pool.network_address.is_unspecified:
        raise ValueError(f"{pool} holds no addresses for containers")
    return pool


def _optional_address4(text: str) -> IPv4Address | None:
    return IPv4Address(text) if text else None


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in re.split(r"[\s,]+", text) if word)


def _mtu(text: str) -> int:
    """The smallest is RFC 791's."""
    mtu = _whole(0, 65535)(text)
    if 0 < mtu < 68:
        raise ValueError(f"{text!r} is too small: 68 at least, or 0")
    return mtu


_CARRIES_NO_IDENTITY = frozenset({"ipip", "sit", "ip6ip6", "gre", "gretap", "fou", "gue", "l2tp", "ipsec"})


def _routing(text: str) -> RoutingMode:
    if text in _CARRIES_NO_IDENTITY:
        raise ValueError(f"{text!r} cannot carry identity: vxlan and geneve can")
    if text not in set(RoutingMode):
        raise ValueError(f"{text!r} is none of {', '.join(RoutingMode)}")
    return RoutingMode(text)


def _optional_port(text: str) -> int:
    return _whole(1, 65535)(text) if text else 0


def _devices(text: str) -> tuple[str, ...]:
    for name in (names := _words(text)):
        if len(name) > 15 or "/" in name:
            raise ValueError(f"{name!r} is no name of a device")
    return names


def _labels(text: str) -> tuple[str, ...]:
    words = _words(text)
    try:
        LabelFilter.parse(words)
    except InvalidInput as error:
        raise ValueError(f"{error.message}; {error.hint}") from error
    return words


def _engine(text: str) -> str:
    where = urlsplit(text)
    if (where.scheme == "unix" and where.path.startswith("/")) or (where.scheme == "tcp" and where.hostname):
        return text
    raise ValueError(f"{text!r} is neither unix:///path nor tcp://host:port of this host's engine")


def _path(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        raise ValueError(f"{text!r} is no absolute path")
    return path


def _optional_path(text: str) -> Path | None:
    return _path(text) if text else None


def _store(text: str) -> tuple[str, int] | None:
    """Host and port of Consul; None: the embedded store."""
    if text == "sqlite":
        return None
    where = urlsplit(text)
    port = where.port  # a ValueError, if it is none
    if (
        where.scheme != "consul"
        or not where.hostname
        or text != f"consul://{where.netloc}"
        or "@" in where.netloc
    ):
        raise ValueError(
            f"{text!r} is neither sqlite, the embedded store of one host, nor consul://host:port"
        )
    return where.hostname, port or _CONSUL_PORT


_CONSUL_PORT = 8500

_PLAIN = "traffic between hosts is not encrypted yet"

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "CILIATE_STORE",
        "sqlite",
        _store,
        "where identities and policies live: sqlite, the embedded store of one host, or consul://host:8500",
    ),
    Setting("CILIATE_CONSUL_TOKEN", "", str, "the node's token for Consul", secret=True),
    Setting(
        "CILIATE_CONSUL_TOKEN_FILE", "", _optional_path, "file with that token; read again when it changes"
    ),
    Setting("CILIATE_CONSUL_CACERT", "", _optional_path, "authority of Consul's certificate; makes it TLS"),
    Setting(
        "CILIATE_CONSUL_CLIENT_CERT", "", _optional_path, "the node's certificate for Consul; makes it TLS"
    ),
    Setting("CILIATE_CONSUL_CLIENT_KEY", "", _optional_path, "the key of that certificate"),
    Setting("CILIATE_CLUSTER", "default", _name, "name of the cluster; the store's keys begin with it"),
    Setting("CILIATE_NODE", "", _optional_name, "name of this node; the host's name when empty"),
    Setting(
        "CILIATE_NODE_IP",
        "",
        _optional_address4,
        "IPv4 address that other nodes reach this one by; the first of the uplinks' if empty",
    ),
    Setting("CILIATE_POOL", "10.200.0.0/16", _pool4, "IPv4 addresses for networks without --subnet"),
    Setting("CILIATE_POOL6", "fd00:c111::/48", _pool6, "IPv6 addresses for networks without --subnet"),
    Setting("CILIATE_NODE_PREFIX", "24", _whole(8, 30), "length of one network's slice of CILIATE_POOL"),
    Setting("CILIATE_NODE_PREFIX6", "64", _whole(16, 126), "length of one network's slice of CILIATE_POOL6"),
    Setting("CILIATE_ROUTING", "vxlan", _routing, "between hosts: vxlan, geneve or native, the same on all"),
    Setting(
        "CILIATE_TUNNEL_PORT",
        "",
        _optional_port,
        "UDP port of the tunnel; 8472 or, for geneve, 6081 if empty",
    ),
    Setting(
        "CILIATE_DEVICES",
        "",
        _devices,
        "all uplinks; when empty: what has a default route, and hardware, VLANs, bonds and tunnels in use",
    ),
    Setting("CILIATE_MTU", "0", _mtu, "MTU of containers; the uplink's when 0"),
    Setting("CILIATE_MASQUERADE", "true", _boolean, "hide containers behind the host's address"),
    Setting(
        "CILIATE_POLICY_ENFORCEMENT",
        "default",
        _choice("default", "always", "never"),
        "default: what a rule selects is denied all else; always: all is; never: rules are ignored",
        live=True,
    ),
    Setting(
        "CILIATE_POLICY_AUDIT",
        "false",
        _boolean,
        "true: what policy denies is told (verdict AUDIT), and passes",
        live=True,
    ),
    Setting("CILIATE_LABELS", "", _labels, "label prefixes that make an identity, !prefixes that do not"),
    Setting("CILIATE_FLAT", "false", _boolean, "networks are one flat network unless they say otherwise"),
    Setting("CILIATE_METRICS_ADDR", "", str, "agent metrics", "the agent's metrics are not available yet"),
    Setting("CILIATE_HUBBLE_ADDR", "", str, "Hubble over TCP", "the Hubble API is not available yet"),
    Setting("CILIATE_UI_ADDR", "off", str, "web UI", "the web UI is not available yet"),
    Setting("CILIATE_PUBLISH_IP", "", _optional_address4, "address that -p binds without one; all if empty"),
    Setting("CILIATE_DNS_UPSTREAM", "", str, "DNS servers", "the DNS proxy is not available yet"),
    Setting("CILIATE_ENCRYPTION", "off", _choice("off", "wireguard", "strict"), "encryption", _PLAIN),
    Setting("CILIATE_SERVICE_POOL", "", str, "service addresses", "services are not available yet"),
    Setting("CILIATE_LB_ALGORITHM", "maglev", str, "load balancing", "services are not available yet"),
    Setting("CILIATE_LB_MODE", "snat", str, "load balancing", "services are not available yet"),
    Setting("CILIATE_XDP", "auto", str, "XDP", "services are not available yet"),
    Setting("CILIATE_BANDWIDTH", "auto", str, "bandwidth", "bandwidth limits are not available yet"),
    Setting("CILIATE_RUN_DIR", "/run/ciliate", _path, "sockets and the pid file"),
    Setting("CILIATE_PLUGIN_DIR", "/run/docker/plugins", _path, "where Docker looks for the plugin's socket"),
    Setting("CILIATE_STATE_DIR", "/var/lib/ciliate", _path, "the store and the compile cache"),
    Setting("CILIATE_BPF_ROOT", "/sys/fs/bpf/ciliate", _path, "where maps and programs are pinned"),
    Setting("CILIATE_CGROUP_ROOT", "", str, "cgroup2 root", "services are not available yet"),
    Setting("DOCKER_HOST", "unix:///var/run/docker.sock", _engine, "the engine's API"),
    Setting("CILIATE_DOCKER_ROOT", "", _optional_path, "the engine's data root; asked from it when empty"),
    Setting(
        "CILIATE_LOG_LEVEL", "info", _choice("debug", "info", "warning", "error"), "what is logged, and above"
    ),
    Setting("CILIATE_LOG_FORMAT", "text", _choice("text", "json"), "how it is logged"),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """The values, parsed. `texts` and `given` are for `ciliate config`."""

    store: tuple[str, int] | None
    consul_token: str
    consul_token_file: Path | None
    consul_cacert: Path | None
    consul_client_cert: Path | None
    consul_client_key: Path | None
    cluster: str
    node: str
    pool: IPv4Network
    pool6: IPv6Network
    node_prefix: int
    node_prefix6: int
    node_ip: IPv4Address | None
    routing: RoutingMode
    tunnel_port: int
    """0: the usual one."""
    devices: tuple[str, ...]
    mtu: int
    masquerade: bool
    policy_enforcement: str
    policy_audit: bool
    labels: tuple[str, ...]
    flat: bool
    publish_ip: IPv4Address | None
    run_dir: Path
    plugin_dir: Path
    state_dir: Path
    bpf_root: Path
    docker_host: str
    docker_root: Path | None
    log_level: str
    log_format: str
    texts: Mapping[str, str]
    given: frozenset[str]

    @property
    def consul(self) -> ConsulAddress | None:
        """None: the store is the embedded one."""
        if self.store is None:
            return None
        return ConsulAddress(
            *self.store,
            tls=self.consul_cacert is not None or self.consul_client_cert is not None,
            ca=self.consul_cacert,
            certificate=self.consul_client_cert,
            key=self.consul_client_key,
            token=self.consul_token,
            token_file=self.consul_token_file,
        )

    @property
    def is_shared(self) -> bool:
        """Whether other nodes have the same store."""
        return self.store is not None

    @property
    def plugin_socket(self) -> Path:
        return self.plugin_dir / "ciliate.sock"

    @property
    def api_socket(self) -> Path:
        return self.run_dir / "api.sock"

    @property
    def read_only_socket(self) -> Path:
        return self.run_dir / "api-ro.sock"


def from_environment(environment: Mapping[str, str] | None = None) -> Settings:
    """What is empty counts as not given. Raises InvalidInput with one line for each problem."""
    environment = os.environ if environment is None else environment
    given = {name: text for name, text in environment.items() if text}
    problems = [
        f"{name}: no such setting (see `ciliate config`)"
        for name in sorted(given)
        if name.startswith("CILIATE_") and name not in {setting.name for setting in SETTINGS}
    ]
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        text = given.get(setting.name, setting.default)
        try:
            if setting.unbuilt and text != setting.default:
                raise ValueError(setting.unbuilt)
            values[setting.name.removeprefix("CILIATE_").lower()] = setting.parse(text)
        except ValueError as error:
            problems.append(f"{setting.name}: {error}")
    problems += _contradictions(values)
    if "node" in values and not values["node"]:
        try:
            values["node"] = _name(socket.gethostname())
        except ValueError as error:
            problems.append(f"CILIATE_NODE: the host's name will not do: {error}")
    if problems:
        raise InvalidInput("the settings are wrong:\n  " + "\n  ".join(problems))
    return Settings(
        **{name: values[name] for name in Settings.__dataclass_fields__ if name in values},
        texts={setting.name: _shown(setting, given) for setting in SETTINGS},
        given=frozenset(setting.name for setting in SETTINGS if setting.name in given),
    )


def _shown(setting: Setting, given: Mapping[str, str]) -> str:
    return (
        "(secret)" if setting.secret and setting.name in given else given.get(setting.name, setting.default)
    )


def _contradictions(values: Mapping[str, Any]) -> list[str]:
    """Between the settings that are right by themselves."""
    problems = []
    consul = [name for name in values if name.startswith("consul_") and values[name]]
    if "store" in values and values["store"] is None:
        problems += [
            f"CILIATE_{name.upper()}: the store is sqlite; only consul:// needs this" for name in consul
        ]
    if "consul_token" in consul and "consul_token_file" in consul:
        problems.append(
            "CILIATE_CONSUL_TOKEN: the token is in CILIATE_CONSUL_TOKEN_FILE already; give one of them"
        )
    if ("consul_client_cert" in consul) != ("consul_client_key" in consul):
        problems.append("CILIATE_CONSUL_CLIENT_CERT: a certificate and CILIATE_CONSUL_CLIENT_KEY go together")
    for pool, prefix in (("pool", "node_prefix"), ("pool6", "node_prefix6")):
        if pool in values and prefix in values and values[prefix] < values[pool].prefixlen:
            problems.append(
                f"CILIATE_{prefix.upper()}: a slice of /{values[prefix]} does not fit into {values[pool]}"
            )
    for directory, longest in (("run_dir", "observe.sock"), ("plugin_dir", "ciliate.sock")):
        if directory in values and len(os.fsencode(values[directory] / longest)) > _LONGEST_SOCKET:
            problems.append(f"CILIATE_{directory.upper()}: too long for the path of a socket in it")
    return problems
