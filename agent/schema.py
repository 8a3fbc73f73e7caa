"""The REST API's messages, as marshmallow schemas: what OpenAPI shows and what a request may hold."""

from __future__ import annotations

from typing import Any

from marshmallow import INCLUDE, Schema, ValidationError, fields, validate


class Answer(Schema):
    """What is in it is always in it."""

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        field_obj.required = True


class Question(Schema):
    """A parameter that nobody knows is refused: it would be a promise broken silently."""

    error_messages = {"unknown": "there is no such parameter"}


class ErrorSchema(Answer):
    error = fields.String(metadata={"description": "what is wrong, in one sentence"})
    path = fields.String(metadata={"description": "the field it is about, or empty"})
    hint = fields.String(metadata={"description": "what to do, or empty"})


class WarningSchema(Answer):
    kind = fields.String(metadata={"description": "BYPASS: what ciliate does not see; AUDIT; FULL; PROBLEM"})
    text = fields.String()
    hint = fields.String()


class EndpointCountSchema(Answer):
    total = fields.Integer()
    ready = fields.Integer()
    waiting = fields.Integer(metadata={"description": "still without labels: denied all"})


class DatapathSchema(Answer):
    abi = fields.Integer()
    attach = fields.String(metadata={"description": "tcx or clsact"})
    compiled = fields.Boolean(metadata={"description": "by this start; false: taken from the cache"})
    lost_events = fields.Integer()


class PartSchema(Answer):
    state = fields.String(metadata={"description": "ok, or what is wrong"})
    version = fields.String()
    detail = fields.String(metadata={"description": "where it is, or what it is"})


class PoolSchema(Answer):
    pool = fields.String()
    network = fields.String(metadata={"description": "whose it is; empty while Docker makes or removes one"})
    size = fields.Integer(metadata={"description": "addresses"})
    used = fields.Integer(metadata={"description": "addresses, gateways too"})


class ChildSchema(Answer):
    name = fields.String()
    pid = fields.Integer()
    state = fields.String(metadata={"description": "running, or waiting to restart"})
    restarts = fields.Integer()


class HealthSchema(Answer):
    status = fields.String(validate=validate.OneOf(["ok", "degraded"]))
    version = fields.String()
    node = fields.String()
    cluster = fields.String()
    uptime = fields.Float(metadata={"description": "seconds"})
    policy_revision = fields.Integer(metadata={"description": "of the rules in force"})
    policy_enforcement = fields.String()
    policy_audit = fields.Boolean(metadata={"description": "does what policy denies pass, everywhere"})
    endpoints = fields.Nested(EndpointCountSchema)
    store = fields.Nested(PartSchema)
    nodes = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        metadata={"description": "of the cluster, by state, this one too; empty for a host alone"},
    )
    docker = fields.Nested(PartSchema)
    datapath = fields.Nested(DatapathSchema)
    ipam = fields.List(fields.Nested(PoolSchema), metadata={"description": "address pools in use"})
    children = fields.List(fields.Nested(ChildSchema), metadata={"description": "the agent's processes"})
    warnings = fields.List(fields.Nested(WarningSchema), metadata={"description": "what needs attention"})
    masquerade = fields.Boolean(metadata={"description": "are containers hidden behind the host's address"})
    uplinks = fields.List(fields.String(), metadata={"description": "devices that lead to the world"})


class NodeSchema(Answer):
    name = fields.String()
    local = fields.Boolean(metadata={"description": "this one"})
    state = fields.String(
        validate=validate.OneOf(["here", "left", "gone"]),
        metadata={
            "description": "left: its session has ended, its containers stay known for ten minutes; gone: they are not"
        },
    )
    left_seconds = fields.Float(metadata={"description": "since it left; 0 while it is here"})
    addresses = fields.List(fields.String(), metadata={"description": "all that others see it as"})
    tunnel = fields.String(metadata={"description": "where it takes packets for its containers, or empty"})
    slices = fields.List(fields.String(), metadata={"description": "what its containers have addresses of"})
    containers = fields.Integer(metadata={"description": "addresses of containers that others know"})


class ConfigItemSchema(Answer):
    name = fields.String()
    value = fields.String(metadata={"description": "in force"})
    default = fields.String()
    help = fields.String()
    source = fields.String(metadata={"description": "default, environment or api"})
    unbuilt = fields.String(metadata={"description": "why it cannot be set yet, or empty"})


class EnforcementSchema(Answer):
    ingress = fields.Boolean(metadata={"description": "is what no rule allows denied"})
    egress = fields.Boolean(metadata={"description": "likewise"})
    audit = fields.Boolean(metadata={"description": "it is told, and passes"})


class PortSchema(Answer):
    protocol = fields.String(metadata={"description": "tcp, udp or sctp"})
    host_ip = fields.String(metadata={"description": "0.0.0.0 or :: for all"})
    host_port = fields.Integer()
    port = fields.Integer(metadata={"description": "the container's"})


class EndpointSchema(Answer):
    id = fields.Integer(metadata={"description": "its number on this node, 1 to 65535"})
    docker_id = fields.String(metadata={"description": "Docker's id of the endpoint"})
    container_id = fields.String(metadata={"description": "empty until it is known"})
    container_name = fields.String()
    network_id = fields.String(metadata={"description": "what the label network:id says"})
    network_name = fields.String()
    ipv4 = fields.String(metadata={"description": "empty if it has none"})
    ipv6 = fields.String(metadata={"description": "empty if it has none"})
    mac = fields.String(metadata={"description": "the container's"})
    ifname = fields.String(metadata={"description": "the host's end of its link; empty while there is none"})
    ifindex = fields.Integer(metadata={"description": "of the host's end; 0 while there is none"})
    labels = fields.List(fields.String(), metadata={"description": "those that make its identity"})
    info_labels = fields.List(fields.String(), metadata={"description": "others, shown only"})
    tags = fields.List(fields.String(), metadata={"description": "for flows; never identity"})
    identity = fields.Integer(
        metadata={"description": "5 (init): its labels are not known yet, and it is denied all"}
    )
    state = fields.String(metadata={"description": "created, waiting-for-labels or ready"})
    enforcement = fields.Nested(EnforcementSchema)
    ports = fields.List(fields.Nested(PortSchema), metadata={"description": "published ones"})


def _text(value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValidationError("half of a character (a lone surrogate) is no text") from error


class LabelsSchema(Question):
    """`labels` replace what the container says; null goes back to the container's own."""

    labels = fields.List(
        fields.String(validate=_text),
        allow_none=True,
        required=True,
        metadata={"example": ["container:role=web"]},
    )


class EndpointLabelsSchema(Answer):
    labels = fields.List(fields.String(), metadata={"description": "those that make its identity"})
    info_labels = fields.List(fields.String(), metadata={"description": "others, shown only"})
    user_labels = fields.List(
        fields.String(), allow_none=True, metadata={"description": "set through this API, or null"}
    )
    identity = fields.Integer()


class EndpointConfigSchema(Answer):
    audit = fields.Boolean(metadata={"description": "set for this endpoint"})
    audit_in_force = fields.Boolean(
        metadata={"description": "set for it or for all: what policy denies passes"}
    )


class EndpointConfigChangeSchema(Question):
    audit = fields.Boolean(
        required=True,
        metadata={"description": "true: what its policy denies is told (verdict AUDIT), and passes"},
    )


class ConfigChangeSchema(Schema):
    """Settings by name, as text; null: what the environment says again. Which there are, the settings know."""

    class Meta:
        unknown = INCLUDE

    CILIATE_POLICY_ENFORCEMENT = fields.String(allow_none=True)
    CILIATE_POLICY_AUDIT = fields.String(allow_none=True, metadata={"example": "true"})


class EndpointHealthSchema(Answer):
    status = fields.String(validate=validate.OneOf(["ok", "degraded"]))
    problems = fields.List(fields.String())


class LogLineSchema(Answer):
    time = fields.String(metadata={"description": "RFC 3339"})
    text = fields.String()


class IdentitySchema(Answer):
    id = fields.Integer()
    labels = fields.List(fields.String())


class IdentityUseSchema(IdentitySchema):
    endpoints = fields.Integer(metadata={"description": "how many have it"})


class AddressSchema(Answer):
    prefix = fields.String()
    identity = fields.Integer(metadata={"description": "0: ours, and nobody's yet"})
    network = fields.Integer(
        metadata={
            "description": "its number; 0: in none; 16777216 and up: of one host alone; 4294967295: of another's"
        }
    )
    network_name = fields.String(metadata={"description": "of a network that this host has, else empty"})
    node = fields.String(metadata={"description": "which other node has the address, or is it; else empty"})
    ifindex = fields.Integer(metadata={"description": "of a local endpoint's link, else 0"})
    endpoint = fields.Integer(metadata={"description": "number of a local endpoint, else 0"})


AUDIT = "it only reports: what it would deny passes, with the verdict AUDIT"


class PolicySchema(Answer):
    policy = fields.List(fields.Dict(), metadata={"description": "rules as they were given"})
    audited = fields.List(
        fields.Integer(),
        metadata={"description": "places in the list of those whose set is audited"},
    )
    revision = fields.Integer(metadata={"description": "of what is in force"})


class OneRuleSetSchema(PolicySchema):
    audit = fields.Boolean(metadata={"description": AUDIT})


class PutPolicySchema(Answer):
    policy = fields.List(fields.Dict(), metadata={"description": "rules as they were given"})
    revision = fields.Integer(metadata={"description": "of this change"})
    warnings = fields.List(
        fields.Nested(WarningSchema),
        metadata={"description": "CIDR: what a rule seems to deny, and does not"},
    )


class NamedPolicySchema(PutPolicySchema):
    result = fields.String(
        validate=validate.OneOf(["created", "changed", "unchanged"]),
        metadata={"description": "of this change, or of the dry run"},
    )
    origin = fields.String(metadata={"description": "who keeps this set, or empty"})
    audit = fields.Boolean(metadata={"description": AUDIT})


class RuleSetSchema(Answer):
    name = fields.String()
    rules = fields.Integer(metadata={"description": "how many"})
    audit = fields.Boolean(metadata={"description": AUDIT})
    origin = fields.String(metadata={"description": "who keeps this set, or empty"})
    revision = fields.Integer(metadata={"description": "in which it was changed last"})


class DeletedSchema(Answer):
    revision = fields.Integer(metadata={"description": "of this change"})
    deleted = fields.Integer(metadata={"description": "how many rules"})


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


class PolicyGetQuerySchema(Question):
    labels = _labels("only rules with all of these labels; repeat it for several")
    revision = fields.Integer(
        load_default=0, validate=validate.Range(min=0), metadata={"description": "what `wait` waits for"}
    )
    wait = _wait()


class PolicyPutQuerySchema(Question):
    replace_with_labels = fields.List(
        fields.String(),
        data_key="replace-with-labels",
        load_default=list,
        metadata={"description": "rules with all of these labels are replaced by the new ones, atomically"},
    )
    wait = _wait()
    dry_run = _dry_run()


class PolicyDeleteQuerySchema(Question):
    labels = _labels(
        "rules with all of these labels; repeat it for several. Without it: all rules without a name"
    )
    wait = _wait()


class NamedPutQuerySchema(Question):
    origin = fields.String(
        load_default="",
        validate=[validate.Length(max=256), _text],
        metadata={
            "description": "who keeps this set, in words of its own; refused (409) where another origin keeps it"
        },
    )
    audit = fields.Boolean(
        load_default=False,
        metadata={"description": "the set only reports: what it would deny passes, with the verdict AUDIT"},
    )
    wait = _wait()
    dry_run = _dry_run()


class NamedDeleteQuerySchema(Question):
    wait = _wait()


class MapSchema(Answer):
    name = fields.String()
    type = fields.String()
    entries = fields.Integer(allow_none=True, metadata={"description": "null where counting means nothing"})
    max_entries = fields.Integer()
    key_size = fields.Integer()
    value_size = fields.Integer()
    readable = fields.Boolean(metadata={"description": "whether `/map/{name}` shows its entries"})


class MapEntrySchema(Answer):
    key = fields.Dict()
    value = fields.Dict()


class VerifyQuerySchema(Question):
    pairs = fields.Integer(
        load_default=2000,
        validate=validate.Range(min=0, max=10_000_000),
        metadata={"description": "of ends to ask about, chosen at random where there are more; 0: all"},
    )
    seconds = fields.Float(
        load_default=20.0,
        validate=validate.Range(min=1, max=3600),
        metadata={"description": "after which it ends, however many pairs are left"},
    )
    seed = fields.Integer(
        load_default=None,
        allow_none=True,
        validate=validate.Range(min=0, max=2**32 - 1),
        metadata={"description": "which pairs and packets: the same seed asks about the same ones"},
    )


class EndSchema(Answer):
    endpoint = fields.Integer(metadata={"description": "its number; 0 if it is none of this node's"})
    name = fields.String(metadata={"description": "of the container, or empty"})
    address = fields.String()
    identity = fields.Integer()
    labels = fields.List(fields.String())


class DisagreementSchema(Answer):
    source = fields.Nested(EndSchema)
    destination = fields.Nested(EndSchema)
    protocol = fields.String()
    port = fields.Integer(metadata={"description": "the destination's; ICMP: the type"})
    published = fields.Boolean(metadata={"description": "through a port that the host publishes"})
    packet = fields.String(metadata={"description": "which one of the flow: the opening one, or an answer"})
    rules = fields.String(metadata={"description": "what the rules say, read one by one"})
    twin = fields.String(metadata={"description": "what the entries say that the rules make"})
    kernel = fields.String(metadata={"description": "what the programs do, over the entries that are there"})


class VerificationSchema(Answer):
    endpoints = fields.Integer()
    rules = fields.Integer()
    pairs = fields.Integer(metadata={"description": "asked about"})
    of = fields.Integer(metadata={"description": "how many there are"})
    packets = fields.Integer(metadata={"description": "that were run"})
    complete = fields.Boolean(metadata={"description": "false: the time was over before"})
    seed = fields.Integer()
    disagreements = fields.List(
        fields.Nested(DisagreementSchema),
        metadata={"description": "the first hundred; none is as it should be"},
    )


class BackupSetSchema(Schema):
    name = fields.String(required=True, metadata={"description": "`default`: the rules without a name"})
    rules = fields.List(fields.Dict(), required=True, metadata={"description": "as they were given"})
    origin = fields.String(load_default="", metadata={"description": "who keeps this set, or empty"})
    audit = fields.Boolean(load_default=False, metadata={"description": AUDIT})


class BackupSchema(Schema):
    version = fields.Integer(
        required=True, validate=validate.Equal(1), metadata={"description": "of this document: 1"}
    )
    cluster = fields.String(load_default="", metadata={"description": "where it comes from"})
    policies = fields.List(fields.Nested(BackupSetSchema), required=True)


class RestoreQuerySchema(Question):
    replace = fields.Boolean(
        load_default=False, metadata={"description": "also where other rules are stored under a name"}
    )


class RestoredSchema(Answer):
    stored = fields.List(fields.String(), metadata={"description": "names of the sets that were written"})
    unchanged = fields.Integer(metadata={"description": "sets that were there already"})
