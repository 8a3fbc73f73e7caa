"""The REST API of the real worker, asked everything that its own description allows, and much that it does not."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from agent.api import description
from tests.docker.harness.unixhttp import _Connection
from tests.kernel.agent.host import API, Host

CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    unsupported_method,
]

EXPECTED = (200, 400, 404, 405, 409, 413, 501, 503, 507)
"""The statuses of errors that somebody has thought of."""

METRICS = "/v1/metrics"
"""The one answer that is no JSON."""

LONGEST_WAIT = 0.05
"""Seconds; what is longer is asked for, but not waited for here."""


class Relay:
    """A WSGI application that passes everything on to a unix socket."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: http.client.HTTPConnection = _Connection(path, 30)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        url = environ["RAW_URI"] if "RAW_URI" in environ else environ["PATH_INFO"]
        if environ.get("QUERY_STRING"):
            url = f"{url.partition('?')[0]}?{environ['QUERY_STRING']}"
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length) if length else None
        headers = {"Content-Type": environ["CONTENT_TYPE"]} if environ.get("CONTENT_TYPE") else {}
        try:
            self._connection.request(environ["REQUEST_METHOD"], url, body, headers)
            answer = self._connection.getresponse()
        except (OSError, http.client.HTTPException):  # it was kept too long
            self._connection.close()
            self._connection.request(environ["REQUEST_METHOD"], url, body, headers)
            answer = self._connection.getresponse()
        content = answer.read()
        start_response(f"{answer.status} {answer.reason}", answer.getheaders())
        return [content]


@pytest.fixture(scope="module")
def api(machine: Host) -> Iterator[Any]:
    """The description that the worker gives of itself. It has endpoints, labels and rules to show."""
    machine.begin()
    pools = machine.network(ipv6=True)
    machine.container(1, pools, ["role=web"])
    machine.container(2, pools)
    rule = {"endpointSelector": {"matchLabels": {"role": "web"}}, "egress": [{"toCIDR": ["192.0.2.0/24"]}]}
    machine.api("PUT", "/v1/policy/name/base?wait=20", [rule])
    schema = schemathesis.openapi.from_wsgi("/v1/openapi.json", Relay(machine.sandbox.path(API)))

    @schema.hook
    def map_query(_context: Any, query: Any) -> Any:
        wait = query.get("wait") if isinstance(query, dict) else None
        if isinstance(wait, int | float) and LONGEST_WAIT < wait <= 300:
            query["wait"] = LONGEST_WAIT
        return query

    yield schema
    machine.api("DELETE", "/v1/policy/name/base")
    machine.end()


OPERATIONS = [
    (path, method)
    for path, methods in description()["paths"].items()
    for method in methods
    if method in ("get", "put", "post", "patch", "delete")
]


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_it_is_as_it_says(api: Any, path: str, method: str) -> None:
    operation = api[path][method]

    @given(operation.as_strategy() | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    def ask(case: Any) -> None:
        answer = case.call()
        case.validate_response(answer, checks=CHECKS)
        assert answer.status_code in EXPECTED, answer.text
        if answer.status_code >= 400:
            assert answer.json().keys() == {"error", "path", "hint"}
            assert answer.json()["error"]
        elif path == METRICS:
            assert list(text_string_to_metric_families(answer.text))
        else:
            json.loads(answer.content)

    ask()


RULE: Any = {
    "endpointSelector": {
        "matchLabels": {"role": "web"},
        "matchExpressions": [{"key": "tier", "operator": "In", "values": ["front"]}],
    },
    "ingress": [
        {"fromEndpoints": [{}], "toPorts": [{"ports": [{"port": "80", "endPort": 90, "protocol": "TCP"}]}]},
        {"fromEntities": ["host"], "icmps": [{"fields": [{"type": 8, "family": "IPv4"}]}]},
    ],
    "egressDeny": [
        {"toCIDRSet": [{"cidr": "192.0.2.0/24", "except": ["192.0.2.8/29"]}]},
        {"toCIDR": ["::/0"]},
    ],
    "enableDefaultDeny": {"ingress": True, "egress": False},
    "labels": ["name=web", {"key": "team", "value": "a", "source": "any"}],
    "description": "one of everything",
}

scraps = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        65536,
        1e300,
        2**70,
        "",
        "0",
        "*",
        "::",
        "10.0.0.0/8",
        "reserved:host",
        "\x00",
        "\ud800",
    ]
)
names = st.sampled_from(["key", "ports", "cidr"])
junk = st.recursive(
    scraps,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2),
    max_leaves=3,
)


@st.composite
def nearly_rules(draw: st.DrawFn) -> Any:
    """A rule in which something stands where it should not."""

    def spoil(part: Any) -> Any:
        if draw(st.integers(0, 9)) == 0:
            return draw(junk)
        if isinstance(part, dict):
            return {
                key + draw(st.sampled_from(["", "", "", "", "", "s"])): spoil(value)
                for key, value in part.items()
            }
        if isinstance(part, list):
            return [spoil(value) for value in part]
        return part

    return spoil(RULE)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(nearly_rules(), min_size=1, max_size=2))
def test_rules_are_taken_or_refused_with_the_place(api: Any, machine: Host, rules: list[Any]) -> None:
    answer = machine.ask(API, "PUT", "/v1/policy/name/nearly?dry-run=true", rules)
    assert answer.status in (200, 400), answer.text
    if answer.status == 400:
        assert answer.json["error"]
