"""Docker's network driver protocol over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog
from flask import Blueprint, Response, request
from werkzeug.exceptions import RequestEntityTooLarge

from driver.network import Networks
from driver.schema import load_endpoint, load_network
from model.errors import CiliateError, InvalidInput, Unsupported
from model.plugin_protocol import CONTENT_TYPE, ERROR_STATUS, MAX_BODY, encode, encode_error, parse

log = structlog.get_logger("driver")

# Networks belong to one engine. A network of `local` scope is never asked of us by a swarm.
CAPABILITIES = {"Scope": "local", "ConnectivityScope": "local", "GwAllocChecker": False}


def blueprint(networks: Networks) -> Blueprint:
    """The routes /NetworkDriver.*; every answer, errors too, is what dockerd reads."""
    routes = Blueprint("network_driver", __name__)

    @routes.post("/NetworkDriver.GetCapabilities")
    def get_capabilities() -> Response:
        return _reply(CAPABILITIES)

    @routes.post("/NetworkDriver.AllocateNetwork")
    @routes.post("/NetworkDriver.FreeNetwork")
    def refuse_swarm() -> Response:
        raise Unsupported(
            "ciliate networks belong to one engine, not to a swarm",
            hint="create the network on each host with -o ciliate.network=ID and without --scope swarm",
        )

    @routes.post("/NetworkDriver.GwAllocCheck")
    def check_gateway() -> Response:
        return _reply({"SkipIPv4": False, "SkipIPv6": False})

    @routes.post("/NetworkDriver.CreateNetwork")
    def create_network() -> Response:
        networks.create_network(load_network(_message()))
        return _reply({})

    @routes.post("/NetworkDriver.DeleteNetwork")
    def delete_network() -> Response:
        networks.delete_network(load_network(_message()).network_id)
        return _reply({})

    @routes.post("/NetworkDriver.CreateEndpoint")
    def create_endpoint() -> Response:
        wanted = load_endpoint(_message())
        mac = networks.create_endpoint(wanted)
        # Docker takes an answer for what it has chosen itself as an attempt to change it, and refuses.
        return _reply({"Interface": {} if wanted.mac else {"MacAddress": mac}})

    @routes.post("/NetworkDriver.DeleteEndpoint")
    def delete_endpoint() -> Response:
        networks.delete_endpoint(load_endpoint(_message()).endpoint_id)
        return _reply({})

    @routes.post("/NetworkDriver.EndpointOperInfo")
    def endpoint_information() -> Response:
        return _reply({"Value": networks.endpoint_information(load_endpoint(_message()).endpoint_id)})

    @routes.post("/NetworkDriver.Join")
    def join() -> Response:
        joined = networks.join(load_endpoint(_message()))
        return _reply(
            {
                "InterfaceName": {"SrcName": joined.interface, "DstPrefix": "eth"},
                "Gateway": str(joined.gateway or ""),
                "GatewayIPv6": str(joined.gateway6 or ""),
                # An engine that misses a gateway would add docker_gwbridge, a way out past every policy.
                "DisableGatewayService": True,
            }
        )

    @routes.post("/NetworkDriver.Leave")
    def leave() -> Response:
        networks.leave(load_endpoint(_message()).endpoint_id)
        return _reply({})

    @routes.post("/NetworkDriver.ProgramExternalConnectivity")
    def program_external_connectivity() -> Response:
        networks.publish(load_endpoint(_message()))
        return _reply({})

    @routes.post("/NetworkDriver.RevokeExternalConnectivity")
    def revoke_external_connectivity() -> Response:
        networks.revoke(load_endpoint(_message()).endpoint_id)
        return _reply({})

    # A swarm's engines tell every driver of nodes that come and go; who spans hosts learns it from the store.
    @routes.post("/NetworkDriver.DiscoverNew")
    @routes.post("/NetworkDriver.DiscoverDelete")
    def discover() -> Response:
        _message()
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
