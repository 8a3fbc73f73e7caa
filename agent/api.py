"""The REST API: short views over the state, the rules and the kernel's tables. Every write goes through the
services that `System` holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask, request
from flask.views import MethodView
from flask_smorest import Api, Blueprint

from agent import schema, views
from agent.system import System

Text = dict[str, Any]


def register(app: Flask, api: Api, system: System) -> None:
    """Adds every path to the application."""
    for make in (_status, _endpoints, _identities, _policy, _maps):
        api.register_blueprint(make(system))


def _status(system: System) -> Blueprint:
    blueprint = Blueprint("status", __name__, url_prefix="/v1", description="The agent itself")

    @blueprint.route("/healthz")
    class Health(MethodView):
        @blueprint.response(200, schema.HealthSchema)
        def get(self) -> Text:
            """How everything is."""
            return system.health()

    @blueprint.route("/config")
    class Config(MethodView):
        @blueprint.response(200, schema.ConfigItemSchema(many=True))
        def get(self) -> list[Text]:
            """Every setting, its value and where that comes from."""
            return system.configuration()

    return blueprint


def _endpoints(system: System) -> Blueprint:
    blueprint = Blueprint("endpoint", __name__, url_prefix="/v1", description="Containers in networks")

    @blueprint.route("/endpoint")
    class Endpoints(MethodView):
        @blueprint.response(200, schema.EndpointSchema(many=True))
        def get(self) -> list[Text]:
            """All endpoints of this node."""
            state = system.state
            ordered = sorted(state.endpoints.values(), key=lambda endpoint: endpoint.id)
            return [views.endpoint(state, endpoint) for endpoint in ordered]

    @blueprint.route("/endpoint/<name>")
    class OneEndpoint(MethodView):
        @blueprint.response(200, schema.EndpointSchema)
        def get(self, name: str) -> Text:
            """One, by number, container-name:, container-id:, docker-endpoint:, ipv4: or ipv6:."""
            state = system.state
            return views.endpoint(state, views.find_endpoint(state, name))

    @blueprint.route("/endpoint/<name>/healthz")
    class EndpointHealth(MethodView):
        @blueprint.response(200, schema.EndpointHealthSchema)
        def get(self, name: str) -> Text:
            """Are its link, its programs and its entries what they should be?"""
            return system.endpoint_health(views.find_endpoint(system.state, name))

    @blueprint.route("/endpoint/<name>/log")
    class EndpointLog(MethodView):
        @blueprint.response(200, schema.LogLineSchema(many=True))
        def get(self, name: str) -> list[Text]:
            """What happened to it, oldest first."""
            return system.journal.lines(views.find_endpoint(system.state, name).docker_id)

    @blueprint.route("/endpoint/<name>/labels")
    class EndpointLabels(MethodView):
        @blueprint.response(200, schema.EndpointLabelsSchema)
        def get(self, name: str) -> Text:
            """The labels that make its identity, and the others."""
            return views.endpoint_labels(views.find_endpoint(system.state, name))

        @blueprint.arguments(schema.LabelsSchema)
        @blueprint.response(200, schema.EndpointLabelsSchema)
        def patch(self, body: Text, name: str) -> Text:
            """Replace what the container says; null goes back to the container's own labels."""
            endpoint = views.find_endpoint(system.state, name)
            return views.endpoint_labels(system.relabel(endpoint, body["labels"]))

    return blueprint


def _identities(system: System) -> Blueprint:
    blueprint = Blueprint("identity", __name__, url_prefix="/v1", description="Who is who")

    @blueprint.route("/identity")
    class Identities(MethodView):
        @blueprint.response(200, schema.IdentitySchema(many=True))
        def get(self) -> list[Text]:
            """Every identity that this node knows."""
            return views.identities(system.state)

    @blueprint.route("/identity/endpoints")
    class IdentitiesInUse(MethodView):
        @blueprint.response(200, schema.IdentityUseSchema(many=True))
        def get(self) -> list[Text]:
            """The identities of this node's endpoints."""
            return views.identities_in_use(system.state)

    @blueprint.route("/identity/<int:number>")
    class OneIdentity(MethodView):
        @blueprint.response(200, schema.IdentitySchema)
        def get(self, number: int) -> Text:
            """One, by number; also one that only the store knows."""
            return system.identity(number)

    @blueprint.route("/ip")
    class Addresses(MethodView):
        @blueprint.response(200, schema.AddressSchema(many=True))
        def get(self) -> list[Text]:
            """Which identity each address and prefix has. All else is world."""
            return views.addresses(dict(system.datapath.ipcache.items()))

    return blueprint


def _policy(system: System) -> Blueprint:
    blueprint = Blueprint("policy", __name__, url_prefix="/v1", description="Rules")

    @blueprint.route("/policy")
    class Policy(MethodView):
        @blueprint.arguments(schema.LabelQuerySchema, location="query")
        @blueprint.response(200, schema.PolicySchema)
        def get(self, query: Text) -> Text:
            """The rules in force on this node; with `labels`, those that carry all of them. With `wait`,
            when the given `revision` is realized."""
            return system.rules.show(query["labels"], query["revision"], query["wait"])

        @blueprint.arguments(schema.PolicyPutQuerySchema, location="query")
        @blueprint.response(200, schema.PolicySchema)
        def put(self, query: Text) -> Text:
            """Add rules (a list, JSON or YAML). Once answered they are on disk."""
            return system.rules.put(
                request.get_data(),
                request.mimetype,
                replace=query["replace_with_labels"],
                wait=query["wait"],
                dry_run=query["dry_run"],
            )

        @blueprint.arguments(schema.LabelQuerySchema, location="query")
        @blueprint.response(200, schema.DeletedSchema)
        def delete(self, query: Text) -> Text:
            """Delete the rules that carry all of `labels`; without labels, all rules."""
            return system.rules.delete(query["labels"], query["wait"])

    return blueprint


def _maps(system: System) -> Blueprint:
    blueprint = Blueprint("map", __name__, url_prefix="/v1", description="The kernel's tables")
    tables: dict[str, Callable[[], list[Text]]] = {
        "endpoints": system.show_endpoints,
        "ipcache": system.show_ipcache,
        "policies": system.show_policies,
        "ct": system.show_conntrack,
        "metrics": system.show_metrics,
        "devices": system.show_devices,
    }

    @blueprint.route("/map")
    class Maps(MethodView):
        @blueprint.response(200, schema.MapSchema(many=True))
        def get(self) -> list[Text]:
            """The maps and how full they are."""
            return system.map_info()

    @blueprint.route("/map/<name>")
    class OneMap(MethodView):
        @blueprint.response(200, schema.MapEntrySchema(many=True))
        def get(self, name: str) -> list[Text]:
            """What one table holds, read from the kernel now."""
            return views.find_table(tables, name)()

    return blueprint
