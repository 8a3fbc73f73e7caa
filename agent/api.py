"""The REST API: short views over the state, the rules and the kernel's tables. Every write goes through the
services that `System` holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask, Response, request
from flask.views import MethodView
from flask_smorest import Api, Blueprint

from agent import policy_schema, schema, tables, views
from agent.app import rest_app
from agent.system import System
from observe.metrics import CONTENT_TYPE

Text = dict[str, Any]

ENDPOINT = {
    "name": "name",
    "in": "path",
    "description": "its number, or container-name:, container-id:, docker-endpoint:, ipv4: or ipv6: and what it has",
    "schema": {"type": "string"},
    "example": "1",
}

NAME = {
    "name": "name",
    "in": "path",
    "description": "of the set of rules: letters, digits, '.', '_' and '-', beginning with a letter or digit",
    "schema": {"type": "string"},
    "example": "base",
}

RULES = {
    "required": True,
    "description": "a list of rules or CiliumNetworkPolicy objects, or one, as JSON or YAML",
    "content": {
        "application/json": {
            "schema": {"type": "array", "items": {"type": "object"}},
            "example": [
                {
                    "endpointSelector": {"matchLabels": {"role": "web"}},
                    "ingress": [{"fromEndpoints": [{"matchLabels": {"role": "client"}}]}],
                    "labels": ["name=web"],
                }
            ],
        },
        "application/yaml": {"schema": {"type": "string"}},
    },
}


NUMBER = {"name": "number", "in": "path", "description": "of the identity", "schema": {"type": "integer"}}

TABLE = {
    "name": "name",
    "in": "path",
    "description": "a map's own name, or `ct` and `ipcache` for the maps that make these up",
    "schema": {"type": "string", "enum": list(tables.TABLES)},
}

Current = Callable[[], System]
"""The agent whose API it is."""


def register(app: Flask, api: Api, system: Current) -> None:
    """Adds every path to the application."""
    for make in (_status, _endpoints, _identities, _policy, _store, _maps):
        api.register_blueprint(make(system))


def _status(system: Current) -> Blueprint:
    blueprint = Blueprint("status", __name__, url_prefix="/v1", description="The agent itself")

    @blueprint.route("/healthz")
    class Health(MethodView):
        @blueprint.response(200, schema.HealthSchema)
        def get(self) -> Text:
            """How everything is."""
            return system().health()

    @blueprint.route("/metrics")
    class Metrics(MethodView):
        @blueprint.response(200, {"type": "string"}, content_type=CONTENT_TYPE.partition(";")[0])
        def get(self) -> Response:
            """The agent's metrics, for Prometheus.

            Gauges: entries of the kernel's maps and how many each can hold, endpoints by state, identities, the policy
            revision, and whether the newest rules are in force.
            """
            return Response(system().metrics(), content_type=CONTENT_TYPE)

    @blueprint.route("/node")
    class Nodes(MethodView):
        @blueprint.response(200, schema.NodeSchema(many=True))
        def get(self) -> list[Text]:
            """The nodes of the cluster, this one first. A host alone has none."""
            return system().nodes()

    @blueprint.route("/config")
    class Config(MethodView):
        @blueprint.response(200, schema.ConfigItemSchema(many=True))
        def get(self) -> list[Text]:
            """Every setting, its value and where that comes from."""
            return system().configuration()

        @blueprint.arguments(schema.ConfigChangeSchema, unknown=None, error_status_code=400)
        @blueprint.response(200, schema.ConfigItemSchema(many=True))
        def patch(self, body: Text) -> list[Text]:
            """Change settings while the agent runs: how policy is enforced, and audit mode.

            In force when answered, and kept: it is stronger than the environment, also after a restart, until null
            takes it back. Other settings are refused: they are read at the start.
            """
            system().live.change(body)
            return system().configuration()

    return blueprint


def _endpoints(system: Current) -> Blueprint:
    blueprint = Blueprint("endpoint", __name__, url_prefix="/v1", description="Containers in networks")

    @blueprint.route("/endpoint")
    class Endpoints(MethodView):
        @blueprint.response(200, schema.EndpointSchema(many=True))
        def get(self) -> list[Text]:
            """All endpoints of this node."""
            state = system().state
            ordered = sorted(state.endpoints.values(), key=lambda endpoint: endpoint.id)
            return [views.endpoint(state, endpoint) for endpoint in ordered]

    @blueprint.route("/endpoint/<name>", parameters=[ENDPOINT])
    class OneEndpoint(MethodView):
        @blueprint.response(200, schema.EndpointSchema)
        def get(self, name: str) -> Text:
            """One of them."""
            state = system().state
            return views.endpoint(state, views.find_endpoint(state, name))

    @blueprint.route("/endpoint/<name>/healthz", parameters=[ENDPOINT])
    class EndpointHealth(MethodView):
        @blueprint.response(200, schema.EndpointHealthSchema)
        def get(self, name: str) -> Text:
            """Are its link, its programs and its entries what they should be?"""
            return system().endpoint_health(views.find_endpoint(system().state, name))

    @blueprint.route("/endpoint/<name>/log", parameters=[ENDPOINT])
    class EndpointLog(MethodView):
        @blueprint.response(200, schema.LogLineSchema(many=True))
        def get(self, name: str) -> list[Text]:
            """What happened to it, oldest first."""
            return system().journal.lines(views.find_endpoint(system().state, name).docker_id)

    @blueprint.route("/endpoint/<name>/policy", parameters=[ENDPOINT])
    class EndpointPolicy(MethodView):
        @blueprint.response(200, policy_schema.EndpointPolicySchema)
        def get(self, name: str) -> Text:
            """What the rules in force mean for it."""
            from agent.in_force import endpoint_policy

            state = system().state
            return endpoint_policy(state, views.find_endpoint(state, name))

    @blueprint.route("/endpoint/<name>/config", parameters=[ENDPOINT])
    class EndpointConfig(MethodView):
        @blueprint.response(200, schema.EndpointConfigSchema)
        def get(self, name: str) -> Text:
            """What is set for it alone."""
            state = system().state
            return views.endpoint_config(state, views.find_endpoint(state, name))

        @blueprint.arguments(schema.EndpointConfigChangeSchema, error_status_code=400)
        @blueprint.response(200, schema.EndpointConfigSchema)
        def patch(self, body: Text, name: str) -> Text:
            """Audit mode for this endpoint: what its policy denies is told (verdict AUDIT), and passes."""
            endpoint = system().audit(views.find_endpoint(system().state, name), body["audit"])
            return views.endpoint_config(system().state, endpoint)

    @blueprint.route("/endpoint/<name>/labels", parameters=[ENDPOINT])
    class EndpointLabels(MethodView):
        @blueprint.response(200, schema.EndpointLabelsSchema)
        def get(self, name: str) -> Text:
            """The labels that make its identity, and the others."""
            return views.endpoint_labels(views.find_endpoint(system().state, name))

        @blueprint.arguments(schema.LabelsSchema, error_status_code=400)
        @blueprint.response(200, schema.EndpointLabelsSchema)
        def patch(self, body: Text, name: str) -> Text:
            """Replace what the container says; null goes back to the container's own labels."""
            endpoint = views.find_endpoint(system().state, name)
            return views.endpoint_labels(system().relabel(endpoint, body["labels"]))

    return blueprint


def _identities(system: Current) -> Blueprint:
    blueprint = Blueprint("identity", __name__, url_prefix="/v1", description="Who is who")

    @blueprint.route("/identity")
    class Identities(MethodView):
        @blueprint.response(200, schema.IdentitySchema(many=True))
        def get(self) -> list[Text]:
            """Every identity that this node knows."""
            return views.identities(system().state)

    @blueprint.route("/identity/endpoints")
    class IdentitiesInUse(MethodView):
        @blueprint.response(200, schema.IdentityUseSchema(many=True))
        def get(self) -> list[Text]:
            """The identities of this node's endpoints."""
            return views.identities_in_use(system().state)

    @blueprint.route("/identity/<int:number>", parameters=[NUMBER])
    class OneIdentity(MethodView):
        @blueprint.response(200, schema.IdentitySchema)
        def get(self, number: int) -> Text:
            """One, by number; also one that only the store knows."""
            return system().identity(number)

    @blueprint.route("/ip")
    class Addresses(MethodView):
        @blueprint.response(200, schema.AddressSchema(many=True))
        def get(self) -> list[Text]:
            """Which identity each address and prefix has. All else is world."""
            return views.addresses(system().state, dict(system().datapath.ipcache.items()))

    return blueprint


def _policy(system: Current) -> Blueprint:
    blueprint = Blueprint("policy", __name__, url_prefix="/v1", description="Rules")

    def asking(query: type) -> Any:
        return blueprint.arguments(query, location="query", unknown=None, error_status_code=400)

    @blueprint.route("/policy")
    class Policy(MethodView):
        @asking(schema.PolicyGetQuerySchema)
        @blueprint.response(200, schema.PolicySchema)
        def get(self, query: Text) -> Text:
            """The rules in force on this node, named ones too.

            With `labels`, those that carry all of them. With `revision` and `wait`, once that revision is in force.
            """
            return system().rules.show(query["labels"], query["revision"], query["wait"])

        @asking(schema.PolicyPutQuerySchema)
        @blueprint.doc(requestBody=RULES)
        @blueprint.response(200, schema.PutPolicySchema)
        def put(self, query: Text) -> Text:
            """Add rules.

            Once answered they are on disk; they are in force a moment later, or when this answers with `wait`. Rules
            that do not fit into the kernel are refused (507). Rules that are there already are added once more: say
            `replace-with-labels`, or give the set a name.
            """
            return system().rules.put(
                request.get_data(),
                request.mimetype,
                replace=query["replace_with_labels"],
                wait=query["wait"],
                dry_run=query["dry_run"],
            )

        @asking(schema.PolicyDeleteQuerySchema)
        @blueprint.response(200, schema.DeletedSchema)
        def delete(self, query: Text) -> Text:
            """Delete the rules without a name that carry all of `labels`.

            Without `labels`, all rules without a name, as in Cilium. Named sets are deleted by their name alone.
            """
            return system().rules.delete(query["labels"], query["wait"])

    @blueprint.route("/policy/name")
    class Sets(MethodView):
        @blueprint.response(200, schema.RuleSetSchema(many=True))
        def get(self) -> list[Text]:
            """The named sets of rules that are stored."""
            return system().rules.sets()

    @blueprint.route("/policy/name/<name>", parameters=[NAME])
    class NamedPolicy(MethodView):
        @blueprint.response(200, schema.OneRuleSetSchema)
        def get(self, name: str) -> Text:
            """The rules of this name that are in force on this node."""
            return system().rules.show_named(name)

        @asking(schema.NamedPutQuerySchema)
        @blueprint.doc(requestBody=RULES)
        @blueprint.response(200, schema.NamedPolicySchema)
        def put(self, query: Text, name: str) -> Text:
            """Replace the rules of this name, all of them at once. May be repeated.

            A list without rules is a set too. With `audit` the set changes no verdict: what would be denied if it were
            in force, beside all other rules, passes with the verdict AUDIT. Without it, it is in force.
            """
            return system().rules.put_named(
                name,
                request.get_data(),
                request.mimetype,
                wait=query["wait"],
                dry_run=query["dry_run"],
                origin=query["origin"],
                audit=query["audit"],
            )

        @asking(schema.NamedDeleteQuerySchema)
        @blueprint.response(200, schema.DeletedSchema)
        def delete(self, query: Text, name: str) -> Text:
            """Delete the rules of this name. May be repeated."""
            return system().rules.delete_named(name, query["wait"])

    @blueprint.route("/policy/check")
    class Check(MethodView):
        @asking(policy_schema.CheckQuerySchema)
        @blueprint.doc(requestBody=RULES)
        @blueprint.response(200, policy_schema.CheckSchema)
        def post(self, query: Text) -> Text:
            """What would these rules change?

            They are taken as `PUT /policy` would take them, or with `name` as the set of that name; nothing is stored.
            Told are endpoints that would begin or cease to deny what no rule allows, and who could newly reach whom,
            or no more, where both ends and their networks are heard.
            """
            return system().rules.check(
                request.get_data(),
                request.mimetype,
                replace=query["replace_with_labels"],
                name=query["name"],
                limit=query["limit"],
                audit=query["audit"],
            )

    @blueprint.route("/policy/selectors")
    class Selectors(MethodView):
        @blueprint.response(200, policy_schema.SelectorSchema(many=True))
        def get(self) -> list[Text]:
            """Whom the rules of this node's endpoints select as peers."""
            from agent.in_force import selectors

            return selectors(system().state)

    @blueprint.route("/policy/resolve")
    class Resolve(MethodView):
        @asking(policy_schema.TraceQuerySchema)
        @blueprint.response(200, policy_schema.TraceSchema)
        def get(self, query: Text) -> Text:
            """May a packet pass, and what decides?

            It is answered from the rules in force and from the map that they make; nothing is sent. Names of DNS are
            not looked up: give an address.
            """
            return system().rules.trace(query["src"], query["dst"], query["dport"], full=query["verbose"])

    @blueprint.route("/policy/verify")
    class Verify(MethodView):
        @asking(schema.VerifyQuerySchema)
        @blueprint.response(200, schema.VerificationSchema)
        def post(self, query: Text) -> Text:
            """Do rules, entries and programs agree?

            Packets between containers, and between them and the host, the world and others, are judged three times: by
            the rules, by the entries that the rules make, and by the programs over the entries that the kernel has.
            Nothing is sent, and no flow, counter or event of the node is touched. One at a time (503).
            """
            return system().verification.run(**query)

    return blueprint


def _store(system: Current) -> Blueprint:
    blueprint = Blueprint(
        "store", __name__, url_prefix="/v1/store", description="What is stored for all nodes"
    )
    asking = blueprint.arguments(
        schema.RestoreQuerySchema, location="query", unknown=None, error_status_code=400
    )

    @blueprint.route("/backup")
    class Backup(MethodView):
        @blueprint.response(200, schema.BackupSchema)
        def get(self) -> Text:
            """All stored rules, as one document."""
            return system().backups.backup()

    @blueprint.route("/restore")
    class Restore(MethodView):
        @blueprint.arguments(schema.BackupSchema, error_status_code=400)
        @asking
        @blueprint.response(200, schema.RestoredSchema)
        def put(self, body: Text, query: Text) -> Text:
            """Store the sets of a backup; other sets stay. May be repeated.

            Refused (409) where other rules are stored under one of the names, unless `replace` is said.
            """
            return system().backups.restore(body, replace=query["replace"])

    @blueprint.route("/migrate")
    class Migrate(MethodView):
        @asking
        @blueprint.response(200, schema.RestoredSchema)
        def post(self, query: Text) -> Text:
            """As `restore`, of what the embedded store of this host holds."""
            return system().backups.migrate(replace=query["replace"])

    return blueprint


def _maps(system: Current) -> Blueprint:
    blueprint = Blueprint("map", __name__, url_prefix="/v1", description="The kernel's tables")

    @blueprint.route("/map")
    class Maps(MethodView):
        @blueprint.response(200, schema.MapSchema(many=True))
        def get(self) -> list[Text]:
            """The maps and how full they are."""
            return tables.maps(system())

    @blueprint.route("/map/<path:name>", parameters=[TABLE])
    class OneMap(MethodView):
        @blueprint.response(200, schema.MapEntrySchema(many=True))
        def get(self, name: str) -> list[Text]:
            """What one table holds, read from the kernel now."""
            return tables.read(system(), name)

    return blueprint


def description() -> Text:
    """The API in OpenAPI 3, as /v1/openapi.json has it; no agent is needed for that."""
    app, api = rest_app()
    register(app, api, _nobody)
    found: Text = api.spec.to_dict()
    return found


def _nobody() -> System:
    raise AssertionError("a description answers no requests")
