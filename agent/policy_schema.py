"""The REST API's messages about what rules mean: traces, drafts, what is in force."""

from __future__ import annotations

from marshmallow import fields, validate

from agent.schema import Answer, IdentitySchema, Question, WarningSchema


class TraceQuerySchema(Question):
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
            "description": "80/tcp, 53/udp, 9/sctp; icmp or icmpv6 for a ping, 13/icmp for another type",
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


class PartySchema(Answer):
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


class MatchSchema(Answer):
    matches = fields.Boolean()
    why = fields.String(metadata={"description": "what matches, or why nothing does"})


class ReadElementSchema(Answer):
    path = fields.String(metadata={"description": "where it stands in the rule: ingress[0]"})
    says = fields.String(metadata={"description": "the element in words"})
    matches = fields.Boolean(metadata={"description": "peer and port do"})
    peer = fields.Nested(MatchSchema)
    port = fields.Nested(MatchSchema)


class ReadRuleSchema(Answer):
    rule = fields.Integer(metadata={"description": "its place in the list of all rules"})
    name = fields.String(metadata={"description": "of its set, or empty"})
    text = fields.String(metadata={"description": "number, set and labels"})
    selects = fields.Boolean(metadata={"description": "is it about this end"})
    why = fields.String(metadata={"description": "its selector; where it does not select, what is missing"})
    elements = fields.List(fields.Nested(ReadElementSchema), metadata={"description": "denials first"})


class PolicyKeySchema(Answer):
    direction = fields.String()
    peer = fields.Integer(allow_none=True, metadata={"description": "identity; 0: any; null: a new one"})
    protocol = fields.String()
    port = fields.String(metadata={"description": "a port, a range, or any; ICMP: the type"})
    deny = fields.Boolean(metadata={"description": "it does; with verdict audit, it would"})


class SideSchema(Answer):
    judged = fields.Boolean(metadata={"description": "false: this end has no rules"})
    verdict = fields.String(
        validate=validate.OneOf(["allowed", "denied", "audit"]),
        metadata={
            "description": "of this end's policy alone; audit: audited rules alone deny it, and it passes"
        },
    )
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


class NetworksSchema(Answer):
    verdict = _verdict("may these networks talk at all")
    reason = fields.String()


class TraceSchema(Answer):
    verdict = fields.String(
        validate=validate.OneOf(["allowed", "denied", "audit"]),
        metadata={
            "description": "of a packet that opens a flow; answers to it pass. audit: it is denied in audit mode, or "
            "by audited rules alone, and passes"
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


class CheckQuerySchema(Question):
    replace_with_labels = fields.List(
        fields.String(),
        data_key="replace-with-labels",
        load_default=list,
        metadata={"description": "the draft would replace the rules with all of these labels"},
    )
    name = fields.String(load_default="", metadata={"description": "the draft would be the set of this name"})
    audit = fields.Boolean(
        load_default=False, metadata={"description": "with `name`: the set would be audited, and only report"}
    )
    limit = fields.Integer(
        load_default=100,
        validate=validate.Range(min=1, max=10_000),
        metadata={"description": "how much of each list is answered"},
    )


class RuleCountSchema(Answer):
    before = fields.Integer()
    after = fields.Integer()


class NewlyEnforcedSchema(Answer):
    endpoint = fields.Integer()
    name = fields.String(metadata={"description": "of the container"})
    direction = fields.String()
    enforced = fields.Boolean(
        metadata={"description": "true: what no rule allows would be denied from now on; false: no more"}
    )


class ChangeSchema(Answer):
    change = fields.String(
        validate=validate.OneOf(["denied", "audited", "allowed"]),
        metadata={
            "description": "what would newly be so; audited: it passes and is told, for audited rules alone deny it"
        },
    )
    direction = fields.String(metadata={"description": "of the subjects' rules, which make the difference"})
    services = fields.String(metadata={"description": "ports and protocols, in words"})
    subjects = fields.List(fields.Nested(IdentitySchema), metadata={"description": "the first 10"})
    subjects_total = fields.Integer()
    peers = fields.List(fields.Nested(IdentitySchema), metadata={"description": "the first 10"})
    peers_total = fields.Integer()


class CheckSchema(Answer):
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
    pairs_audited = fields.Integer(metadata={"description": "likewise, told by audited rules"})
    pairs_allowed = fields.Integer(metadata={"description": "likewise, allowed"})
    warnings = fields.List(
        fields.Nested(WarningSchema),
        metadata={
            "description": "AUDIT: audit mode is on, or sets are audited; CIDR: what a rule seems to deny, and does not"
        },
    )
    revision = fields.Integer(
        metadata={"description": "of the rules in force that the draft was held against"}
    )


class SelectorSchema(Answer):
    selector = fields.String(metadata={"description": "in words"})
    users = fields.Integer(metadata={"description": "identities of this node's endpoints whose rules use it"})
    identities = fields.List(fields.Integer(), metadata={"description": "whom it selects now"})


class ElementInForceSchema(Answer):
    path = fields.String(metadata={"description": "where it stands in the rule: ingress[0]"})
    says = fields.String(metadata={"description": "the element in words"})
    denies = fields.Boolean()
    selected = fields.Integer(
        allow_none=True, metadata={"description": "how many identities it selects now; null: anybody"}
    )
    identities = fields.List(fields.Nested(IdentitySchema), metadata={"description": "the first 20 of them"})


class RuleInForceSchema(Answer):
    rule = fields.Integer(metadata={"description": "its place in the list of all rules"})
    name = fields.String(metadata={"description": "of its set, or empty"})
    text = fields.String(metadata={"description": "number, set and labels"})
    why = fields.String(metadata={"description": "its selector, in words"})
    elements = fields.List(fields.Nested(ElementInForceSchema), metadata={"description": "denials first"})


class DirectionInForceSchema(Answer):
    enforced = fields.Boolean(metadata={"description": "is what no rule allows denied"})
    audited = fields.Boolean(metadata={"description": "would it be so if audited rules were in force"})
    reason = fields.String(metadata={"description": "why it is, or is not"})
    rules = fields.List(fields.Nested(RuleInForceSchema))


class EndpointPolicySchema(Answer):
    endpoint = fields.Integer()
    name = fields.String()
    identity = fields.Integer()
    labels = fields.List(fields.String())
    audit = fields.Boolean(metadata={"description": "what is denied is told, and passes"})
    slot = fields.Integer(metadata={"description": "of its policy map"})
    entries = fields.Integer(metadata={"description": "of that map"})
    egress = fields.Nested(DirectionInForceSchema)
    ingress = fields.Nested(DirectionInForceSchema)
