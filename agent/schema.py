"""The REST API's messages, as marshmallow schemas: what OpenAPI shows and what a request may hold."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate


class _Answer(Schema):
    """What is in it is always in it."""

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        field_obj.required = True


class _Question(Schema):
    """A parameter that nobody knows is refused: it would be a promise broken silently."""

    error_messages = {"unknown": "there is no such parameter"}


class ErrorSchema(_Answer):
    error = fields.String(metadata={"description": "what is wrong, in one sentence"})
    path = fields.String(metadata={"description": "the field it is about, or empty"})
    hint = fields.String(metadata={"description": "what to do, or empty"})


class WarningSchema(_Answer):
    kind = fields.String(metadata={"description": "BYPASS: traffic that ciliate does not see"})
    text = fields.String()
    hint = fields.String()


class EndpointCountSchema(_Answer):
    total = fields.Integer()
    ready = fields.Integer()
    waiting = fields.Integer(metadata={"description": "still without labels: denied all"})


class DatapathSchema(_Answer):
    abi = fields.Integer()
    attach = fields.String(metadata={"description": "tcx or clsact"})
    compiled = fields.Boolean(metadata={"description": "by this start; false: taken from the cache"})
    lost_events = fields.Integer()


class PartSchema(_Answer):
    state = fields.String()
    version = fields.String()
    detail = fields.String()


class PoolSchema(_Answer):
    pool = fields.String()
    network = fields.String()
    size = fields.Integer()
    used = fields.Integer()


class ChildSchema(_Answer):
    name = fields.String()
    pid = fields.Integer()
    state = fields.String()
    restarts = fields.Integer()


class HealthSchema(_Answer):
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


class ConfigItemSchema(_Answer):
    name = fields.String()
    value = fields.String()
    default = fields.String()
    help = fields.String()
    source = fields.String(metadata={"description": "default or environment"})
    unbuilt = fields.String(metadata={"description": "why it cannot be set yet, or empty"})


class EnforcementSchema(_Answer):
    ingress = fields.Boolean()
    egress = fields.Boolean()


class PortSchema(_Answer):
    protocol = fields.String()
    host_ip = fields.String()
    host_port = fields.Integer()
    port = fields.Integer()


class EndpointSchema(_Answer):
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


def _text(value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValidationError("half of a character (a lone surrogate) is no text") from error


class LabelsSchema(_Question):
    """`labels` replace what the container says; null goes back to the container's own."""

    labels = fields.List(
        fields.String(validate=_text),
        allow_none=True,
        required=True,
        metadata={"example": ["container:role=web"]},
    )


class EndpointLabelsSchema(_Answer):
    labels = fields.List(fields.String())
    info_labels = fields.List(fields.String())
    user_labels = fields.List(fields.String(), allow_none=True)
    identity = fields.Integer()


class EndpointHealthSchema(_Answer):
    status = fields.String(validate=validate.OneOf(["ok", "degraded"]))
    problems = fields.List(fields.String())


class LogLineSchema(_Answer):
    time = fields.String(metadata={"description": "RFC 3339"})
    text = fields.String()


class IdentitySchema(_Answer):
    id = fields.Integer()
    labels = fields.List(fields.String())


class IdentityUseSchema(IdentitySchema):
    endpoints = fields.Integer()


class AddressSchema(_Answer):
    prefix = fields.String()
    identity = fields.Integer()
    network = fields.Integer()
    ifindex = fields.Integer()
    endpoint = fields.Integer()


class PolicySchema(_Answer):
    policy = fields.List(fields.Dict())
    revision = fields.Integer()


class DeletedSchema(_Answer):
    revision = fields.Integer()
    deleted = fields.Integer()


def _wait() -> fields.Float:
    return fields.Float(
        load_default=0.0,
        validate=validate.Range(min=0, max=300),
        metadata={"description": "answer when it is in force on this node; an error after so many seconds"},
    )


def _dry_run() -> fields.Boolean:
    return fields.Boolean(
        data_key="dry-run", load_default=False, metadata={"description": "check, and change nothing"}
    )


def _labels(description: str) -> fields.List[Any]:
    return fields.List(fields.String(), load_default=list, metadata={"description": description})


class PolicyGetQuerySchema(_Question):
    labels = _labels("only rules with all of these labels; repeat it for several")
    revision = fields.Integer(
        load_default=0, validate=validate.Range(min=0), metadata={"description": "what `wait` waits for"}
    )
    wait = _wait()


class PolicyPutQuerySchema(_Question):
    replace_with_labels = fields.List(
        fields.String(),
        data_key="replace-with-labels",
        load_default=list,
        metadata={"description": "rules with all of these labels are replaced by the new ones, atomically"},
    )
    wait = _wait()
    dry_run = _dry_run()


class PolicyDeleteQuerySchema(_Question):
    labels = _labels(
        "rules with all of these labels; repeat it for several. Without it: all rules without a name"
    )
    wait = _wait()


class NamedPutQuerySchema(_Question):
    wait = _wait()
    dry_run = _dry_run()


class NamedDeleteQuerySchema(_Question):
    wait = _wait()


class MapSchema(_Answer):
    name = fields.String()
    type = fields.String()
    entries = fields.Integer(allow_none=True, metadata={"description": "null where counting means nothing"})
    max_entries = fields.Integer()
    key_size = fields.Integer()
    value_size = fields.Integer()


class MapEntrySchema(_Answer):
    key = fields.Dict()
    value = fields.Dict()
