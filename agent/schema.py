"""The REST API's messages, as marshmallow schemas: what OpenAPI shows and what a request may hold."""

from __future__ import annotations

from typing import Any

from marshmallow import INCLUDE, Schema, ValidationError, fields, validate


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
    kind = fields.String(metadata={"description": "BYPASS: what ciliate does not see; AUDIT; FULL; PROBLEM"})
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
    state = fields.String(metadata={"description": "ok, or what is wrong"})
    version = fields.String()
    detail = fields.String(metadata={"description": "where it is, or what it is"})


class PoolSchema(_Answer):
    pool = fields.String()
    network = fields.String(metadata={"description": "whose it is; empty while Docker makes or removes one"})
    size = fields.Integer(metadata={"description": "addresses"})
    used = fields.Integer(metadata={"description": "addresses, gateways too"})


class ChildSchema(_Answer):
    name = fields.String()
    pid = fields.Integer()
    state = fields.String(metadata={"description": "running, or waiting to restart"})
    restarts = fields.Integer()


class HealthSchema(_Answer):
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
    docker = fields.Nested(PartSchema)
    datapath = fields.Nested(DatapathSchema)
    ipam = fields.List(fields.Nested(PoolSchema), metadata={"description": "address pools in use"})
    children = fields.List(fields.Nested(ChildSchema), metadata={"description": "the agent's processes"})
    warnings = fields.List(fields.Nested(WarningSchema), metadata={"description": "what needs attention"})
    masquerade = fields.Boolean(metadata={"description": "are containers hidden behind the host's address"})
    uplinks = fields.List(fields.String(), metadata={"description": "devices that lead to the world"})


class ConfigItemSchema(_Answer):
    name = fields.String()
    value = fields.String(metadata={"description": "in force"})
    default = fields.String()
    help = fields.String()
    source = fields.String(metadata={"description": "default, environment or api"})
    unbuilt = fields.String(metadata={"description": "why it cannot be set yet, or empty"})


class EnforcementSchema(_Answer):
    ingress = fields.Boolean(metadata={"description": "is what no rule allows denied"})
    egress = fields.Boolean(metadata={"description": "likewise"})
    audit = fields.Boolean(metadata={"description": "it is told, and passes"})


class PortSchema(_Answer):
    protocol = fields.String(metadata={"description": "tcp, udp or sctp"})
    host_ip = fields.String(metadata={"description": "0.0.0.0 or :: for all"})
    host_port = fields.Integer()
    port = fields.Integer(metadata={"description": "the container's"})


class EndpointSchema(_Answer):
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


class LabelsSchema(_Question):
    """`labels` replace what the container says; null goes back to the container's own."""

    labels = fields.List(
        fields.String(validate=_text),
        allow_none=True,
        required=True,
        metadata={"example": ["container:role=web"]},
    )


class EndpointLabelsSchema(_Answer):
    labels = fields.List(fields.String(), metadata={"description": "those that make its identity"})
    info_labels = fields.List(fields.String(), metadata={"description": "others, shown only"})
    user_labels = fields.List(
        fields.String(), allow_none=True, metadata={"description": "set through this API, or null"}
    )
    identity = fields.Integer()


class EndpointConfigSchema(_Answer):
    audit = fields.Boolean(metadata={"description": "set for this endpoint"})
    audit_in_force = fields.Boolean(
        metadata={"description": "set for it or for all: what policy denies passes"}
    )


class EndpointConfigChangeSchema(_Question):
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
    endpoints = fields.Integer(metadata={"description": "how many have it"})


class AddressSchema(_Answer):
    prefix = fields.String()
    identity = fields.Integer(metadata={"description": "0: ours, and nobody's yet"})
    network = fields.Integer(metadata={"description": "its number; 0: in none"})
    ifindex = fields.Integer(metadata={"description": "of a local endpoint's link, else 0"})
    endpoint = fields.Integer(metadata={"description": "number of a local endpoint, else 0"})


class PolicySchema(_Answer):
    policy = fields.List(fields.Dict(), metadata={"description": "rules as they were given"})
    revision = fields.Integer(metadata={"description": "GET: of what is in force; PUT: of this change"})


class NamedPolicySchema(PolicySchema):
    result = fields.String(
        validate=validate.OneOf(["created", "changed", "unchanged"]),
        metadata={"description": "of this change, or of the dry run"},
    )
    origin = fields.String(metadata={"description": "who keeps this set, or empty"})


class RuleSetSchema(_Answer):
    name = fields.String()
    rules = fields.Integer(metadata={"description": "how many"})
    origin = fields.String(metadata={"description": "who keeps this set, or empty"})
    revision = fields.Integer(metadata={"description": "in which it was changed last"})


class DeletedSchema(_Answer):
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


def _no_audit(value: bool) -> None:
    if value:
        raise ValidationError(
            "rules cannot be audited set by set yet: set CILIATE_POLICY_AUDIT for all, or the audit mode of an endpoint"
        )


class NamedPutQuerySchema(_Question):
    origin = fields.String(
        load_default="",
        validate=[validate.Length(max=1024), _text],
        metadata={
            "description": "who keeps this set, in words of its own; refused (409) where another origin keeps it"
        },
    )
    audit = fields.Boolean(
        load_default=False,
        validate=_no_audit,
        metadata={"description": "only false yet: audit mode is for all rules, or for an endpoint"},
    )
    wait = _wait()
    dry_run = _dry_run()


class NamedDeleteQuerySchema(_Question):
    wait = _wait()


class TraceQuerySchema(_Question):
    src = fields.String(
        required=True,
        metadata={
            "description": "who sends: a container's name, an endpoint's number, an address, identity:NUMBER, labels "
            "(role=web,compose:service=db), or host, world, unmanaged, init",
            "example": "client",
        },
    )
    dst = fields.String(
        required=True, metadata={"description": "who receives, written like `src`", "example": "web"}
    )
    dport = fields.String(
        required=True,
        metadata={
            "description": "80/tcp, 53/udp, 9/sctp; icmp or icmpv6 for a ping, 3/icmp for another type",
            "example": "80/tcp",
        },
    )
    verbose = fields.Boolean(
        load_default=False, metadata={"description": "also the rules that do not select either end, and why"}
    )


def _verdict(description: str) -> fields.String:
    return fields.String(
        validate=validate.OneOf(["allowed", "denied"]), metadata={"description": description}
    )


class PartySchema(_Answer):
    given = fields.String(metadata={"description": "as it was asked for"})
    name = fields.String()
    identity = fields.Integer(
        allow_none=True,
        metadata={"description": "0: nobody has this address; null: no endpoint has these labels yet"},
    )
    labels = fields.List(fields.String())
    endpoint = fields.Integer(metadata={"description": "its number; 0 if it was not found as one"})
    network = fields.String(metadata={"description": "empty if it is in none, or it is not known"})
    note = fields.String(metadata={"description": "what was assumed, or empty"})


class MatchSchema(_Answer):
    matches = fields.Boolean()
    why = fields.String(metadata={"description": "what matches, or why nothing does"})


class ReadElementSchema(_Answer):
    path = fields.String(metadata={"description": "where it stands in the rule: ingress[0]"})
    says = fields.String(metadata={"description": "the element in words"})
    matches = fields.Boolean(metadata={"description": "peer and port do"})
    peer = fields.Nested(MatchSchema)
    port = fields.Nested(MatchSchema)


class ReadRuleSchema(_Answer):
    rule = fields.Integer(metadata={"description": "its place in the list of all rules"})
    name = fields.String(metadata={"description": "of its set, or empty"})
    text = fields.String(metadata={"description": "number, set and labels"})
    selects = fields.Boolean(metadata={"description": "is it about this end"})
    why = fields.String(metadata={"description": "its selector; where it does not select, what is missing"})
    elements = fields.List(fields.Nested(ReadElementSchema), metadata={"description": "denials first"})


class PolicyKeySchema(_Answer):
    direction = fields.String()
    peer = fields.Integer(allow_none=True, metadata={"description": "identity; 0: any; null: a new one"})
    protocol = fields.String()
    port = fields.String(metadata={"description": "a port, a range, or any; ICMP: the type"})
    deny = fields.Boolean()


class SideSchema(_Answer):
    judged = fields.Boolean(metadata={"description": "false: this end has no rules"})
    verdict = _verdict("of this end's policy alone")
    audit = fields.Boolean(metadata={"description": "what this end's policy denies is told, and passes"})
    reason = fields.String()
    enforced = fields.Boolean(metadata={"description": "is what no rule allows denied"})
    slot = fields.Integer(
        allow_none=True,
        metadata={"description": "of its policy map; null if no endpoint of this node has it"},
    )
    entry = fields.Nested(
        PolicyKeySchema,
        allow_none=True,
        metadata={"description": "of the map, that decides; null: none matches, which denies"},
    )
    agrees = fields.Boolean(
        metadata={"description": "rules and map say the same; false is a fault of ciliate"}
    )
    rules = fields.List(fields.Nested(ReadRuleSchema))
    others = fields.Integer(metadata={"description": "how many rules are not shown"})


class NetworksSchema(_Answer):
    verdict = _verdict("may these networks talk at all")
    reason = fields.String()


class TraceSchema(_Answer):
    verdict = fields.String(
        validate=validate.OneOf(["allowed", "denied", "audit"]),
        metadata={
            "description": "of a packet that opens a flow; answers to it pass. audit: policy denies it, and it passes"
        },
    )
    reason = fields.String(metadata={"description": "what decided, in one sentence"})
    source = fields.Nested(PartySchema)
    destination = fields.Nested(PartySchema)
    protocol = fields.String()
    port = fields.Integer(metadata={"description": "the destination's; ICMP: the type"})
    networks = fields.Nested(NetworksSchema)
    egress = fields.Nested(SideSchema, metadata={"description": "what the sender's rules say"})
    ingress = fields.Nested(SideSchema, metadata={"description": "what the receiver's rules say"})
    revision = fields.Integer(metadata={"description": "of the rules that were read"})


class CheckQuerySchema(_Question):
    replace_with_labels = fields.List(
        fields.String(),
        data_key="replace-with-labels",
        load_default=list,
        metadata={"description": "the draft would replace the rules with all of these labels"},
    )
    name = fields.String(load_default="", metadata={"description": "the draft would be the set of this name"})
    limit = fields.Integer(
        load_default=100,
        validate=validate.Range(min=1, max=10_000),
        metadata={"description": "how much of each list is answered"},
    )


class RuleCountSchema(_Answer):
    before = fields.Integer()
    after = fields.Integer()


class NewlyEnforcedSchema(_Answer):
    endpoint = fields.Integer()
    name = fields.String(metadata={"description": "of the container"})
    direction = fields.String()
    enforced = fields.Boolean(
        metadata={"description": "true: what no rule allows would be denied from now on; false: no more"}
    )


class ChangeSchema(_Answer):
    change = fields.String(
        validate=validate.OneOf(["denied", "allowed"]), metadata={"description": "what would newly be so"}
    )
    direction = fields.String(metadata={"description": "of the subjects' rules, which make the difference"})
    services = fields.String(metadata={"description": "ports and protocols, in words"})
    subjects = fields.List(fields.Nested(IdentitySchema), metadata={"description": "the first 10"})
    subjects_total = fields.Integer()
    peers = fields.List(fields.Nested(IdentitySchema), metadata={"description": "the first 10"})
    peers_total = fields.Integer()


class CheckSchema(_Answer):
    rules = fields.Nested(RuleCountSchema)
    enforcement = fields.List(
        fields.Nested(NewlyEnforcedSchema), metadata={"description": "endpoints whose default would change"}
    )
    enforcement_total = fields.Integer()
    changes = fields.List(
        fields.Nested(ChangeSchema), metadata={"description": "between identities that this node knows"}
    )
    changes_total = fields.Integer()
    pairs_denied = fields.Integer(
        metadata={"description": "ordered pairs of identities between which something is newly denied"}
    )
    pairs_allowed = fields.Integer(metadata={"description": "likewise, allowed"})
    revision = fields.Integer(
        metadata={"description": "of the rules in force that the draft was held against"}
    )


class SelectorSchema(_Answer):
    selector = fields.String(metadata={"description": "in words"})
    users = fields.Integer(metadata={"description": "identities of this node's endpoints whose rules use it"})
    identities = fields.List(fields.Integer(), metadata={"description": "whom it selects now"})


class ElementInForceSchema(_Answer):
    path = fields.String(metadata={"description": "where it stands in the rule: ingress[0]"})
    says = fields.String(metadata={"description": "the element in words"})
    denies = fields.Boolean()
    selected = fields.Integer(
        allow_none=True, metadata={"description": "how many identities it selects now; null: anybody"}
    )
    identities = fields.List(fields.Nested(IdentitySchema), metadata={"description": "the first 20 of them"})


class RuleInForceSchema(_Answer):
    rule = fields.Integer(metadata={"description": "its place in the list of all rules"})
    name = fields.String(metadata={"description": "of its set, or empty"})
    text = fields.String(metadata={"description": "number, set and labels"})
    why = fields.String(metadata={"description": "its selector, in words"})
    elements = fields.List(fields.Nested(ElementInForceSchema), metadata={"description": "denials first"})


class DirectionInForceSchema(_Answer):
    enforced = fields.Boolean(metadata={"description": "is what no rule allows denied"})
    reason = fields.String(metadata={"description": "why it is, or is not"})
    rules = fields.List(fields.Nested(RuleInForceSchema))


class EndpointPolicySchema(_Answer):
    endpoint = fields.Integer()
    name = fields.String()
    identity = fields.Integer()
    labels = fields.List(fields.String())
    audit = fields.Boolean(metadata={"description": "what is denied is told, and passes"})
    slot = fields.Integer(metadata={"description": "of its policy map"})
    entries = fields.Integer(metadata={"description": "of that map"})
    egress = fields.Nested(DirectionInForceSchema)
    ingress = fields.Nested(DirectionInForceSchema)


class MapSchema(_Answer):
    name = fields.String()
    type = fields.String()
    entries = fields.Integer(allow_none=True, metadata={"description": "null where counting means nothing"})
    max_entries = fields.Integer()
    key_size = fields.Integer()
    value_size = fields.Integer()
    readable = fields.Boolean(metadata={"description": "whether `/map/{name}` shows its entries"})


class MapEntrySchema(_Answer):
    key = fields.Dict()
    value = fields.Dict()


class VerifyQuerySchema(_Question):
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


class EndSchema(_Answer):
    endpoint = fields.Integer(metadata={"description": "its number; 0 if it is none of this node's"})
    name = fields.String(metadata={"description": "of the container, or empty"})
    address = fields.String()
    identity = fields.Integer()
    labels = fields.List(fields.String())


class DisagreementSchema(_Answer):
    source = fields.Nested(EndSchema)
    destination = fields.Nested(EndSchema)
    protocol = fields.String()
    port = fields.Integer(metadata={"description": "the destination's; ICMP: the type"})
    published = fields.Boolean(metadata={"description": "through a port that the host publishes"})
    packet = fields.String(metadata={"description": "which one of the flow: the opening one, or an answer"})
    rules = fields.String(metadata={"description": "what the rules say, read one by one"})
    twin = fields.String(metadata={"description": "what the entries say that the rules make"})
    kernel = fields.String(metadata={"description": "what the programs do, over the entries that are there"})


class VerificationSchema(_Answer):
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
