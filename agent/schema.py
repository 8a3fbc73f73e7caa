"""The REST API's messages, as marshmallow schemas: what OpenAPI shows and what a request may hold."""

from __future__ import annotations

from marshmallow import Schema, fields, validate


class ErrorSchema(Schema):
    error = fields.String(metadata={"description": "what is wrong, in one sentence"})
    path = fields.String(metadata={"description": "the field it is about, or empty"})
    hint = fields.String(metadata={"description": "what to do, or empty"})


class WarningSchema(Schema):
    kind = fields.String(metadata={"description": "BYPASS: traffic that ciliate does not see"})
    text = fields.String()
    hint = fields.String()


class EndpointCountSchema(Schema):
    total = fields.Integer()
    ready = fields.Integer()
    waiting = fields.Integer(metadata={"description": "still without labels: denied all"})


class DatapathSchema(Schema):
    abi = fields.Integer()
    attach = fields.String(metadata={"description": "tcx or clsact"})
    compiled = fields.Boolean(metadata={"description": "by this start; false: taken from the cache"})
    lost_events = fields.Integer()


class PartSchema(Schema):
    state = fields.String()
    version = fields.String()
    detail = fields.String()


class PoolSchema(Schema):
    pool = fields.String()
    network = fields.String()
    size = fields.Integer()
    used = fields.Integer()


class ChildSchema(Schema):
    name = fields.String()
    pid = fields.Integer()
    state = fields.String()
    restarts = fields.Integer()


class HealthSchema(Schema):
    status = fields.String(validate=validate.OneOf(["ok", "degraded"]))
    version = fields.String()
    node = fields.String()
    cluster = fields.String()
    uptime = fields.Float(metadata={"description": "seconds"})
    policy_revision = fields.Integer()
    policy_enforcement = fields.String()
    endpoints = fields.Nested(EndpointCountSchema)
    store = fields.Nested(PartSchema)
    docker = fields.Nested(PartSchema)
    datapath = fields.Nested(DatapathSchema)
    ipam = fields.List(fields.Nested(PoolSchema))
    children = fields.List(fields.Nested(ChildSchema))
    warnings = fields.List(fields.Nested(WarningSchema))
    masquerade = fields.Boolean()


class ConfigItemSchema(Schema):
    name = fields.String()
    value = fields.String()
    default = fields.String()
    help = fields.String()
    source = fields.String(metadata={"description": "default or environment"})
    unbuilt = fields.String(metadata={"description": "why it cannot be set yet, or empty"})


class EnforcementSchema(Schema):
    ingress = fields.Boolean()
    egress = fields.Boolean()


class PortSchema(Schema):
    protocol = fields.String()
    host_ip = fields.String()
    host_port = fields.Integer()
    port = fields.Integer()


class EndpointSchema(Schema):
    id = fields.Integer()
    docker_id = fields.String()
    container_id = fields.String()
    container_name = fields.String()
    network_id = fields.String()
    network_name = fields.String()
    ipv4 = fields.String()
    ipv6 = fields.String()
    mac = fields.String()
    ifname = fields.String()
    ifindex = fields.Integer()
    labels = fields.List(fields.String())
    info_labels = fields.List(fields.String())
    tags = fields.List(fields.String())
    identity = fields.Integer()
    state = fields.String()
    enforcement = fields.Nested(EnforcementSchema)
    ports = fields.List(fields.Nested(PortSchema))


class LabelsSchema(Schema):
    """`labels` replace what the container says; null goes back to the container's own."""

    labels = fields.List(fields.String(), allow_none=True, required=True)


class EndpointLabelsSchema(Schema):
    labels = fields.List(fields.String())
    info_labels = fields.List(fields.String())
    user_labels = fields.List(fields.String(), allow_none=True)
    identity = fields.Integer()


class EndpointHealthSchema(Schema):
    status = fields.String(validate=validate.OneOf(["ok", "degraded"]))
    problems = fields.List(fields.String())


class LogLineSchema(Schema):
    time = fields.String(metadata={"description": "RFC 3339"})
    text = fields.String()


class IdentitySchema(Schema):
    id = fields.Integer()
    labels = fields.List(fields.String())


class IdentityUseSchema(IdentitySchema):
    endpoints = fields.Integer()


class AddressSchema(Schema):
    prefix = fields.String()
    identity = fields.Integer()
    network = fields.Integer()
    ifindex = fields.Integer()
    endpoint = fields.Integer()


class PolicySchema(Schema):
    policy = fields.List(fields.Dict())
    revision = fields.Integer()


class DeletedSchema(Schema):
    revision = fields.Integer()
    deleted = fields.Integer()


class PolicyPutQuerySchema(Schema):
    replace_with_labels = fields.List(
        fields.String(),
        data_key="replace-with-labels",
        load_default=list,
        metadata={"description": "rules with all of these labels are replaced by the new ones, atomically"},
    )
    wait = fields.Float(
        load_default=0.0,
        validate=validate.Range(min=0, max=300),
        metadata={"description": "answer when realized on this node, within so many seconds"},
    )
    dry_run = fields.Boolean(data_key="dry-run", load_default=False)


class LabelQuerySchema(Schema):
    labels = fields.List(fields.String(), load_default=list)
    revision = fields.Integer(load_default=0, metadata={"description": "what `wait` waits for"})
    wait = fields.Float(load_default=0.0, validate=validate.Range(min=0, max=300))


class MapSchema(Schema):
    name = fields.String()
    type = fields.String()
    entries = fields.Integer()
    max_entries = fields.Integer()
    key_size = fields.Integer()
    value_size = fields.Integer()


class MapEntrySchema(Schema):
    key = fields.Dict()
    value = fields.Dict()
