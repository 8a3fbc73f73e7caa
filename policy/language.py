"""Every field of the rule language, what it means and whether it is enforced: what docs/reference/policy.md is made
of. PURE. A test holds it to what the schema takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from policy.peers import ABSENT, NO_CIDR_GROUPS
from policy.selector import Entity
from policy.unenforced import UNENFORCED

ENFORCED, KEPT = "enforced", "kept"


@dataclass(frozen=True, slots=True)
class Part:
    """One kind of object in a rule. `state`: of all its fields; empty: of each its own."""

    name: str
    fields: Mapping[str, str]
    state: str = ""

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """Field, meaning, state."""
        for name, meaning in self.fields.items():
            yield name, meaning, self.state or _STATES.get(name, ENFORCED)


_STATES = {
    **{name: f"refused: {reason}" for name, reason in UNENFORCED.items()},
    "cidrGroupRef": f"refused: {NO_CIDR_GROUPS}",
    "cidrGroupSelector": f"refused: {NO_CIDR_GROUPS}",
    "labels": KEPT,
    "description": KEPT,
}

_READ = "read; refused with what holds it"

_PEERS = "peers may be in one list only; no list, but ports or ICMP types: anybody; an empty list: nobody"


def _element(way: str, says: str) -> dict[str, str]:
    return {
        f"{way}Endpoints": f"peers by label: {says} any of these selectors; {_PEERS}",
        f"{way}Requires": f"what every peer in {way}Endpoints must meet as well, in all rules about the same subject; "
        f"lets nobody in by itself. Stands alone or beside {way}Endpoints",
        f"{way}CIDR": "peers by prefix or address, in the world: what has labels is never known by its address",
        f"{way}CIDRSet": "the same, with exceptions",
        f"{way}Entities": f"{', '.join(Entity)}; {' and '.join(ABSENT)} do not exist here",
        f"{way}Nodes": "nodes by label",
        f"{way}Groups": "security groups of a cloud",
    }


_REST = {
    "toPorts": "at any of these ports; absent or empty: at every port",
    "icmps": "at any of these ICMP types; excludes toPorts. No rule is asked about errors, which pass with the flow "
    "that they are about, nor about what is of one link alone: refused in a denial",
    "authentication": "whether both ends must prove who they are; `{mode: disabled}`: they need not (not in a denial)",
}

LANGUAGE = (
    Part(
        "a rule",
        {
            "endpointSelector": "the containers that the rule is about (its subjects); `{}` is all, also those whose "
            "labels are not known yet",
            "nodeSelector": "instead, the hosts that it is about",
            "ingress": "what may reach the subject: any of these elements. An element `{}` lets in nobody, and makes "
            "the subject deny what nothing allows; an empty list does not",
            "ingressDeny": "what may not, whatever allows it",
            "egress": "what the subject may reach",
            "egressDeny": "what it may not, whatever allows it",
            "enableDefaultDeny": "`{ingress: false, egress: false}`: in that direction the rule does not make its "
            "subjects deny what nothing allows. `true` says what holds anyway",
            "labels": "the rule's own, to replace and delete it by: `key=value`, or `{key, value, source}`",
            "description": "for people",
            "log": "`{value}`: a text of 32 characters for the flows that the rule decides; `{}` is none",
        },
    ),
    Part("an element of ingress or ingressDeny", _element("from", "who meets") | _REST),
    Part(
        "an element of egress or egressDeny",
        _element("to", "who meets")
        | {
            "toServices": "services by name or label",
            "toFQDNs": "peers by DNS name: `{matchName}` or `{matchPattern}` (not in a denial)",
        }
        | _REST,
    ),
    Part(
        "a selector",
        {
            "matchLabels": "`{KEY: VALUE}`, all of them. KEY is `source:key`; without a source, any but the image's; "
            "never a prefix",
            "matchExpressions": "`{key, operator, values}`, all of them: In, NotIn, Exists, DoesNotExist. NotIn and "
            "DoesNotExist are met by who lacks the key: the host and the world, too",
        },
        ENFORCED,
    ),
    Part(
        "an element of fromCIDRSet or toCIDRSet",
        {
            "cidr": "a prefix with its length",
            "except": "prefixes inside it that are left out",
            "cidrGroupRef": "instead, a group of prefixes by name",
            "cidrGroupSelector": "instead, groups of prefixes by label",
        },
    ),
    Part(
        "an element of toPorts",
        {
            "ports": "40 at most; absent or empty: at none",
            "rules": "what may be said there: one of http, kafka, dns, l7proto (not in a denial)",
            "serverNames": "names that a TLS client may ask for (not in a denial)",
            "terminatingTLS": "how TLS of the opener is ended (not in a denial)",
            "originatingTLS": "how TLS to the other end is begun (not in a denial)",
            "listener": "a proxy that it goes through (egress; not in a denial)",
        },
    ),
    Part(
        "an element of ports",
        {
            "port": 'a number as text; `"0"`: every one. A name is refused: a container\'s ports have none',
            "endPort": "the last one of a range, as a number",
            "protocol": "TCP, UDP, SCTP; absent or ANY: these three",
        },
        ENFORCED,
    ),
    Part("an element of icmps", {"fields": "40 at most"}, ENFORCED),
    Part(
        "an element of fields",
        {"type": "a number, or a name such as EchoRequest", "family": "IPv4, IPv6; absent: IPv4"},
        ENFORCED,
    ),
    Part(
        "rules",
        {
            "http": "requests, any of these",
            "kafka": "requests, any of these",
            "dns": "questions, any of these: `{matchName}` or `{matchPattern}` (egress)",
            "l7proto": "another protocol's name",
            "l7": "and its requests, as pairs of key and value",
        },
        _READ,
    ),
    Part(
        "an element of http",
        {
            "path": "a regular expression (RE2) about the whole path",
            "method": "the same about the method",
            "host": "the same about the host",
            "headers": "`NAME` or `NAME: VALUE`, all of them",
            "headerMatches": "`{name, value, mismatch, secret}`, all of them; mismatch: LOG, ADD, DELETE or REPLACE "
            "instead of refusing the request",
        },
        _READ,
    ),
    Part(
        "an element of kafka",
        {
            "role": "produce or consume: all API keys that it takes",
            "apiKey": "instead, one API key by name",
            "apiVersion": "its version",
            "clientID": "what the client calls itself",
            "topic": "the topic",
        },
        _READ,
    ),
    Part(
        "terminatingTLS, originatingTLS",
        {
            "secret": "`{namespace, name}` of the secret with these files",
            "trustedCA": "file of the certificates to trust",
            "certificate": "file of the certificate to show",
            "privateKey": "file of its key",
        },
        _READ,
    ),
    Part(
        "listener",
        {
            "envoyConfig": "`{kind, name}` of what configures the proxy",
            "name": "the listener's name in it",
            "priority": "from 1 to 100; of several listeners the lowest",
        },
        _READ,
    ),
    Part(
        "an element of toServices",
        {
            "k8sService": "`{serviceName, namespace}`",
            "k8sServiceSelector": "`{selector, namespace}`",
        },
        _READ,
    ),
)
