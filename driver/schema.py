"""The messages of Docker's network driver protocol, from JSON to what the use cases take."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_interface, ip_network
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from model.errors import InvalidInput
from model.network import Subnet

_NETWORK_ID = re.compile(r"[0-9a-z]{12,64}")  # of swarm networks, 25 characters beyond hexadecimal
_ENDPOINT_ID = re.compile(r"[0-9a-f]{12,64}")


@dataclass(frozen=True, slots=True)
class NetworkRequest:
    network_id: str
    options: Mapping[str, Any] = field(default_factory=dict)
    subnets: tuple[Subnet, ...] = ()


@dataclass(frozen=True, slots=True)
class EndpointRequest:
    """`mac` "": the driver chooses. `sandbox`: path of the container's network namespace, in Join only."""

    network_id: str
    endpoint_id: str
    options: Mapping[str, Any] = field(default_factory=dict)
    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None
    mac: str = ""
    sandbox: str = ""


class _Message(Schema):
    """Members that a newer dockerd adds are no error, and Go writes null for what is empty."""

    class Meta:
        unknown = EXCLUDE


class _Pool(_Message):
    Pool = fields.String(load_default="", allow_none=True)
    Gateway = fields.String(load_default="", allow_none=True)


class _Network(_Message):
    NetworkID = fields.String(required=True, validate=validate.Regexp(_NETWORK_ID, error="is no id"))
    Options = fields.Dict(keys=fields.String(), load_default=None, allow_none=True)
    IPv4Data = fields.List(fields.Nested(_Pool), load_default=None, allow_none=True)
    IPv6Data = fields.List(fields.Nested(_Pool), load_default=None, allow_none=True)


class _Interface(_Message):
    Address = fields.String(load_default="", allow_none=True)
    AddressIPv6 = fields.String(load_default="", allow_none=True)
    MacAddress = fields.String(load_default="", allow_none=True)


class _Endpoint(_Message):
    NetworkID = fields.String(required=True, validate=validate.Regexp(_NETWORK_ID, error="is no id"))
    EndpointID = fields.String(required=True, validate=validate.Regexp(_ENDPOINT_ID, error="is no id"))
    Interface = fields.Nested(_Interface, load_default=None, allow_none=True)
    SandboxKey = fields.String(load_default="", allow_none=True)
    Options = fields.Dict(keys=fields.String(), load_default=None, allow_none=True)


_NETWORK = _Network()
_ENDPOINT = _Endpoint()


def load_network(message: Mapping[str, Any]) -> NetworkRequest:
    """CreateNetwork and DeleteNetwork."""
    found = _load(_NETWORK, message)
    return NetworkRequest(
        network_id=found["NetworkID"],
        options=found["Options"] or {},
        subnets=tuple(
            _subnet(pool, f"{member}.{number}")
            for member in ("IPv4Data", "IPv6Data")
            for number, pool in enumerate(found[member] or ())
        ),
    )


def load_endpoint(message: Mapping[str, Any]) -> EndpointRequest:
    """Every call about one endpoint."""
    found = _load(_ENDPOINT, message)
    interface = found["Interface"] or {}
    ipv4 = _interface(interface.get("Address"), "Interface.Address")
    ipv6 = _interface(interface.get("AddressIPv6"), "Interface.AddressIPv6")
    if ipv4 is not None and not isinstance(ipv4, IPv4Interface):
        raise InvalidInput(f"{ipv4.ip} is not IPv4", path="Interface.Address")
    if ipv6 is not None and not isinstance(ipv6, IPv6Interface):
        raise InvalidInput(f"{ipv6.ip} is not IPv6", path="Interface.AddressIPv6")
    return EndpointRequest(
        network_id=found["NetworkID"],
        endpoint_id=found["EndpointID"],
        options=found["Options"] or {},
        ipv4=ipv4.ip if ipv4 else None,
        ipv6=ipv6.ip if ipv6 else None,
        mac=interface.get("MacAddress") or "",
        sandbox=found["SandboxKey"] or "",
    )


def _load(schema: Schema, message: Mapping[str, Any]) -> dict[str, Any]:
    try:
        found: dict[str, Any] = schema.load(message)
    except ValidationError as error:
        path, text = _first_problem(error.messages_dict)
        raise InvalidInput(text[:1].lower() + text[1:].rstrip("."), path=path) from error
    return found


def _first_problem(problems: Any) -> tuple[str, str]:
    """Where the first problem lies, and what it is."""
    path = []
    while isinstance(problems, dict):
        key, problems = next(iter(problems.items()))
        path.append(str(key))
    return ".".join(path), str(problems[0] if isinstance(problems, list) else problems)


def _subnet(found: Mapping[str, str], path: str) -> Subnet:
    try:
        pool = ip_network(found["Pool"], strict=False)
    except ValueError as error:
        raise InvalidInput(f"{found['Pool']!r} is no subnet", path=path) from error
    gateway = _interface(found["Gateway"], f"{path}.Gateway")
    return Subnet(pool, gateway.ip if gateway is not None else None)


def _interface(text: str | None, path: str) -> IPv4Interface | IPv6Interface | None:
    if not text:
        return None
    try:
        return ip_interface(text)
    except ValueError as error:
        raise InvalidInput(f"{text!r} is no IP address", path=path) from error
