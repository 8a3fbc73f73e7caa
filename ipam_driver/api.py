"""Docker's IPAM driver protocol over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog
from flask import Blueprint, Response, request
from werkzeug.exceptions import RequestEntityTooLarge

from ipam_driver.ipam import Ipam
from ipam_driver.schema import (
    load_address_release,
    load_address_request,
    load_pool_release,
    load_pool_request,
)
from model.errors import CiliateError, InvalidInput
from model.plugin_protocol import CONTENT_TYPE, ERROR_STATUS, MAX_BODY, encode, encode_error, parse

log = structlog.get_logger("ipam")


def blueprint(ipam: Ipam) -> Blueprint:
    """The routes /IpamDriver.*; every answer, errors too, is what dockerd reads."""
    routes = Blueprint("ipam_driver", __name__)

    @routes.post("/IpamDriver.GetCapabilities")
    def get_capabilities() -> Response:
        return _reply({"RequiresMACAddress": False, "RequiresRequestReplay": False})

    @routes.post("/IpamDriver.GetDefaultAddressSpaces")
    def get_default_address_spaces() -> Response:
        return _reply(
            {"LocalDefaultAddressSpace": "ciliate-local", "GlobalDefaultAddressSpace": "ciliate-global"}
        )

    @routes.post("/IpamDriver.RequestPool")
    def request_pool() -> Response:
        wanted = load_pool_request(_message())
        pool = str(ipam.request_pool(wanted.subnet, wanted.range, version=wanted.version))
        return _reply({"PoolID": pool, "Pool": pool, "Data": {}})

    @routes.post("/IpamDriver.ReleasePool")
    def release_pool() -> Response:
        ipam.release_pool(load_pool_release(_message()))
        return _reply({})

    @routes.post("/IpamDriver.RequestAddress")
    def request_address() -> Response:
        wanted = load_address_request(_message())
        address = ipam.request_address(wanted.pool, wanted.address, gateway=wanted.gateway)
        return _reply({"Address": str(address), "Data": {}})

    @routes.post("/IpamDriver.ReleaseAddress")
    def release_address() -> Response:
        ipam.release_address(*load_address_release(_message()))
        return _reply({})

    @routes.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        if not isinstance(error, CiliateError):
            log.exception("request failed", call=request.path)
        return Response(encode_error(error), ERROR_STATUS, content_type=CONTENT_TYPE)

    return routes


def _message() -> dict[str, Any]:
    request.max_content_length = MAX_BODY
    try:
        return parse(request.get_data(cache=False))
    except RequestEntityTooLarge as error:
        raise InvalidInput(f"the request is larger than {MAX_BODY} bytes") from error


def _reply(members: Mapping[str, Any]) -> Response:
    return Response(encode(members), content_type=CONTENT_TYPE)
