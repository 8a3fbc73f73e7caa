"""`ciliate policy trace`: the answer first, then why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from agent.in_force import endpoint_policy
from cli.resolve import with_names
from model.errors import NotFound
from tests.unit.agent.node import Node, allow
from tests.unit.cli.conftest import CannedAgent, Ciliate


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node().start()
    node.network()
    for number, name in enumerate(("web", "client", "stranger")):
        endpoint = node.join(number, name)
        node.realm.put_endpoint(replace(endpoint, container_name=name))
    node.put(allow("web", "client"))
    yield node
    node.stop()


@pytest.fixture
def ask(node: Node, agent: CannedAgent, ciliate: Ciliate) -> Any:
    def ask(source: str, destination: str, dport: str, *options: str) -> str:
        full = "-v" in options
        agent.on("GET", "/v1/policy/resolve", node.rules.trace(source, destination, dport, full=full))
        ran = ciliate("policy", "trace", "--src", source, "--dst", destination, "--dport", dport, *options)
        assert (ran.status, ran.err) == (0, "")
        return ran.out

    return ask


def test_allowed(ask: Any, agent: CannedAgent) -> None:
    assert (
        ask("client", "web", "80/tcp")
        == """\
ALLOWED: client -> web, 80/tcp
both ends allow it

from  client: endpoint 2, identity 257, network n0, container:role=client
to    web: endpoint 1, identity 256, network n0, container:role=web

networks: ALLOWED, both are on n0
egress of client: ALLOWED
  no rule is about its egress: all of it is allowed
  map: slot 2, to anybody: allow
ingress of web: ALLOWED
  rule 0 (to=web) selects role=web
    yes ingress[0]: allow from role=client on 80/TCP
  map: slot 1, from identity 257 on 80/tcp: allow
"""
    )
    assert agent.requests[0][2] == {"src": ["client"], "dst": ["web"], "dport": ["80/tcp"]}


def test_denied_with_what_would_have_allowed_it(ask: Any) -> None:
    assert ask("stranger", "web", "81/tcp").endswith("""\
ingress of web: DENIED
  no rule allows it, and ingress is denied by default: rule 0 (to=web) selects it
  rule 0 (to=web) selects role=web
    no  ingress[0]: allow from role=client on 80/TCP
          peer: needs role=client, has container:role=stranger
          port: 81/TCP is not 80/TCP
  map: slot 1, no entry matches: deny
""")


def test_denied_by_audited_rules_alone(node: Node, ask: Any) -> None:
    def put(*rules: Any) -> None:
        body = json.dumps(rules).encode()
        node.rules.put_named("tried", body, "", wait=5.0, dry_run=False, audit=True)

    put(allow("client", "nobody"))
    out = ask("web", "client", "80/tcp")
    assert out.startswith(
        "AUDIT: web -> client, 80/tcp\ningress of client: no rule allows it, and ingress is denied by default: "
        "rule 1 (set tried, audited, to=client) selects it\nit passes all the same: audited rules\n"
    )
    assert out.endswith("""\
ingress of client: AUDIT
  no rule allows it, and ingress is denied by default: rule 1 (set tried, audited, to=client) selects it
  rule 1 (set tried, audited, to=client) selects role=client
    no  ingress[0]: allow from role=nobody on 80/TCP
          peer: needs role=nobody, has container:role=web
  map: slot 2, from anybody: allow, now
  audited: only audited rules deny it; it is told, and passes
""")
    put({"endpointSelector": {}, "ingressDeny": [{"fromEntities": ["all"]}]})
    assert ask("client", "web", "80/tcp").endswith("""\
  rule 1 (set tried, audited) selects all
    yes ingressDeny[0]: deny from all
  map: slot 1, from anybody: deny, if the audited rules were in force
  audited: only audited rules deny it; it is told, and passes
""")


def test_every_rule(ask: Any, agent: CannedAgent) -> None:
    out = ask("client", "web", "80/tcp", "-v")
    assert "  rule 0 (to=web) does not select it: needs role=web, has container:role=client\n" in out
    assert agent.requests[0][2]["verbose"] == ["true"]


def test_many_rules_are_cut_short(ask: Any, node: Node) -> None:
    node.put(*(allow("web", f"r{number}") for number in range(12)))
    out = ask("stranger", "web", "80/tcp")
    assert out.count("ingress[0]") == 10
    assert "    ... 3 more, which -v shows\n" in out
    assert ask("stranger", "web", "80/tcp", "-v").count("ingress[0]") == 13


def test_who_is_no_container(ask: Any) -> None:
    out = ask("host", "web", "icmp")
    assert out.startswith("DENIED: host -> web, 8/icmp\ningress of web: no rule allows it")
    assert "from  host: identity host, reserved:host\n" in out
    assert "egress of host: ALLOWED\n  no rule can be about it: it is no container of ours\n" in out


def test_what_does_not_exist_yet(ask: Any) -> None:
    out = ask("role=new", "web", "80/tcp")
    assert (
        "from  role=new: a new identity, network n0, container:role=new\n"
        "      taken to be on network n0 too. No endpoint here has these labels: this is a container with exactly "
        "these\n"
    ) in out
    assert "  map: none here; it would say, to anybody: allow\n" in out


def test_where_networks_are_separate_nothing_else_matters(ask: Any, node: Node) -> None:
    node.network(1)
    node.join(3, "far", in_network=1)
    out = ask("4", "web", "80/tcp")
    assert out.startswith("DENIED: endpoint 4 -> web, 80/tcp\nEndpoints are on separate networks\n")
    assert out.endswith("networks: DENIED, Endpoints are on separate networks\n")


def test_audit_mode(ask: Any, node: Node) -> None:
    node.realm.put_endpoint(replace(node.state.endpoints["e0"], audit=True))
    out = ask("stranger", "web", "80/tcp")
    assert out.startswith("AUDIT: stranger -> web, 80/tcp\ningress of web: no rule allows it")
    assert "\nit passes all the same: audit mode\n" in out
    assert out.endswith("no entry matches: deny\n  audit mode: what policy denies is told, and passes\n")


def test_json(ask: Any) -> None:
    answer = json.loads(ask("client", "web", "80/tcp", "-o", "json"))
    assert (answer["verdict"], answer["ingress"]["entry"]["peer"]) == ("allowed", 257)


def knows_addresses_only(query: dict[str, str]) -> dict[str, str]:
    for name in ("src", "dst"):
        if query[name] not in ("web", "127.0.0.1"):
            raise NotFound(f"nobody is called {query[name]!r}", path=name)
    return query


def test_names_that_the_agent_does_not_know_are_looked_up(capsys: pytest.CaptureFixture[str]) -> None:
    """127.1 is a name to the agent; to the resolver it needs no server."""
    query = {"src": "web", "dst": "127.1", "dport": "80"}
    assert with_names(query, knows_addresses_only) == query | {"dst": "127.0.0.1"}
    assert capsys.readouterr().err == "127.1 is 127.0.0.1 by this host's DNS\n"


@pytest.mark.parametrize("name", ["wbe", "no.such.invalid", "127.2"])
def test_names_that_lead_nowhere(name: str) -> None:
    with pytest.raises(NotFound):
        with_names({"src": name, "dst": "web", "dport": "80"}, knows_addresses_only)


def test_the_policy_of_an_endpoint(node: Node, agent: CannedAgent, ciliate: Ciliate) -> None:
    answer = endpoint_policy(node.state, node.state.endpoints["e0"])
    agent.on("GET", "/v1/endpoint/web/policy", answer)
    ran = ciliate("endpoint", "get", "web", "--policy")
    assert (ran.status, ran.err) == (0, "")
    assert (
        ran.out
        == """\
web: endpoint 1, identity 256, container:role=web
map: slot 1, 2 entries

egress: ALLOWED, save what a rule denies
  no rule is about its egress: all of it is allowed

ingress: DENIED, save what a rule allows
  ingress is denied by default: rule 0 (to=web) selects it
  rule 0 (to=web) selects role=web
    ingress[0]: allow from role=client on 80/TCP
      now 257 (container:role=client)
"""
    )


def test_selectors(agent: CannedAgent, ciliate: Ciliate) -> None:
    agent.on(
        "GET",
        "/v1/policy/selectors",
        [
            {"selector": "role=client", "users": 2, "identities": [1, *range(256, 281)]},
            {"selector": "192.0.2.0/24", "users": 1, "identities": []},
        ],
    )
    lines = ciliate("policy", "selectors").out.splitlines()
    assert [line.split() for line in lines[:1]] == [["SELECTOR", "USERS", "SELECTS", "IDENTITIES"]]
    assert lines[1].startswith("role=client   2      26       host, 256, 257, ")
    assert lines[1].endswith(", 274 and 6 more")
    assert lines[2].split() == ["192.0.2.0/24", "1", "0", "-"]
