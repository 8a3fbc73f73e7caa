"""Rules as tests write them."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import CiliateError
from policy.schema import load_rules
from tests.unit.policy.drawing import Document


def ingress(element: object, **more: object) -> Document:
    return {"endpointSelector": {}, "ingress": [element], **more}


def at(**port: object) -> Document:
    return {"toPorts": [{"ports": [port]}]}


def refused(rule: object) -> CiliateError:
    with pytest.raises(CiliateError) as caught:
        load_rules([rule])
    return caught.value


def egress(element: object) -> Document:
    return {"endpointSelector": {}, "egress": [element]}


WEB_PORT = [{"port": "80", "protocol": "TCP"}]
TLS = {"secret": {"namespace": "x", "name": "y"}, "trustedCA": "a", "certificate": "b", "privateKey": "c"}
ENVOY = {"envoyConfig": {"kind": "CiliumEnvoyConfig", "name": "x"}, "name": "y", "priority": 1}
HTTP = {
    "method": "GET|HEAD",
    "path": "/a/[[:alpha:]]+$",
    "host": "x",
    "headers": ["X-My-Header: true", "X-Other"],
    "headerMatches": [{"name": "X", "value": "1", "mismatch": "LOG", "secret": {"name": "s"}}],
}


def beyond_ports(way: Any = ingress, ports: object = None, **more: object) -> Document:
    found: Document = way({"toPorts": [{"ports": WEB_PORT if ports is None else ports, **more}]})
    return found


def l7(**rules: object) -> Document:
    return beyond_ports(rules=rules)


def dns(*rules: object) -> Document:
    return beyond_ports(egress, [{"port": "53", "protocol": "ANY"}], rules={"dns": list(rules)})
