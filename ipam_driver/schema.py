"""The messages of Docker's IPAM protocol, from JSON to what the use cases take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields

from model.errors import InvalidInput
from model.network import IPAddress, IPNetwork

_REQUEST_TYPE = "RequestAddressType"
_GATEWAY = "com.docker.network.gateway"


@dataclass(frozen=True, slots=True)
class PoolRequest:
    """`subnet` None: any free one of this IP version."""

    subnet: IPNetwork | None
    range: IPNetwork | None
    version: int


@dataclass(frozen=True, slots=True)
class AddressRequest:
    """`address` None: any."""

    pool: IPNetwork
    address: IPAddress | None
    gateway: bool


class _Message(Schema):
    """Members that a newer dockerd adds are no error."""

    class Meta:
        unknown = EXCLUDE


class _RequestPool(_Message):
    Pool = fields.String(load_default="", allow_none=True)
    SubPool = fields.String(load_default="", allow_none=True)
    Options = fields.Dict(keys=fields.String(), load_default=None, allow_none=True)
    V6 = fields.Boolean(load_default=False, allow_none=True)


class _ReleasePool(_Message):
    PoolID = fields.String(required=True)


class _RequestAddress(_ReleasePool):
    Address = fields.String(load_default="", allow_none=True)
    Options = fields.Dict(keys=fields.String(), load_default=None, allow_none=True)


class _ReleaseAddress(_ReleasePool):
    Address = fields.String(required=True)


_REQUEST_POOL = _RequestPool()
_RELEASE_POOL = _ReleasePool()
_REQUEST_ADDRESS = _RequestAddress()
_RELEASE_ADDRESS = _ReleaseAddress()


def load_pool_request(message: Mapping[str, Any]) -> PoolRequest:
    found = _load(_REQUEST_POOL, message)
    for option in found["Options"] or {}:
        raise InvalidInput(
            f"unknown IPAM option {option!r}",
            path="--ipam-opt",
            hint="ciliate's IPAM has no options; those of the network are given with -o",
        )
    version = 6 if found["V6"] else 4
    subnet = _network(found["Pool"], "--subnet", version) if found["Pool"] else None
    if not found["SubPool"]:
        return PoolRequest(subnet, None, version)
    if subnet is None:
        raise InvalidInput("a range of no subnet", path="--ip-range", hint="give --subnet as well")
    return PoolRequest(subnet, _network(found["SubPool"], "--ip-range", version), version)


def load_pool_release(message: Mapping[str, Any]) -> IPNetwork:
    return _pool_id(_load(_RELEASE_POOL, message))


def load_address_request(message: Mapping[str, Any]) -> AddressRequest:
    """Options other than the type are dockerd's own, no user can give them, and none matters here."""
    found = _load(_REQUEST_ADDRESS, message)
    kind = (found["Options"] or {}).get(_REQUEST_TYPE, "")
    if kind not in ("", _GATEWAY):
        raise InvalidInput(f"unknown kind of address {kind!r}", path=f"Options.{_REQUEST_TYPE}")
    address = _address(found["Address"]) if found["Address"] else None
    return AddressRequest(_pool_id(found), address, gateway=kind == _GATEWAY)


def load_address_release(message: Mapping[str, Any]) -> tuple[IPNetwork, IPAddress]:
    found = _load(_RELEASE_ADDRESS, message)
    return _pool_id(found), _address(found["Address"])


def _load(schema: Schema, message: Mapping[str, Any]) -> dict[str, Any]:
    try:
        found: dict[str, Any] = schema.load(message)
    except ValidationError as error:
        path, problems = next(iter(error.messages_dict.items()))
        text = problems[0] if isinstance(problems, list) else str(problems)
        raise InvalidInput(text[:1].lower() + text[1:].rstrip("."), path=path) from error
    return found


def _network(text: str, path: str, version: int) -> IPNetwork:
    """Bits beyond the prefix are cut off, as Docker's own drivers do."""
    try:
        network = ip_network(text, strict=False)
    except ValueError as error:
        raise InvalidInput(f"{text!r} is no subnet", path=path, hint="write it like 10.1.2.0/24") from error
    if network.version != version:
        raise InvalidInput(f"{text} is not IPv{version}", path=path)
    return network


def _pool_id(found: Mapping[str, Any]) -> IPNetwork:
    try:
        return ip_network(found["PoolID"])
    except ValueError as error:
        raise InvalidInput(f"{found['PoolID']!r} is no pool of ciliate", path="PoolID") from error


def _address(text: str) -> IPAddress:
    try:
        return ip_address(text)
    except ValueError as error:
        raise InvalidInput(f"{text!r} is no IP address", path="Address") from error
