"""The lists of identities, addresses, settings and maps."""

from __future__ import annotations

import json

from model.version import VERSION
from tests.unit.cli.conftest import CannedAgent, Ciliate


def test_identities(agent: CannedAgent, ciliate: Ciliate) -> None:
    agent.on(
        "GET",
        "/v1/identity",
        [
            {"id": 1, "labels": ["reserved:host"]},
            {"id": 1001, "labels": ["container:app=web", "network:id=a1"]},
        ],
    )
    assert ciliate("identity", "list").out == (
        "ID    LABELS\n1     reserved:host\n1001  container:app=web network:id=a1\n"
    )


def test_a_long_id_of_a_network_is_cut_as_docker_does(agent: CannedAgent, ciliate: Ciliate) -> None:
    label = f"network:id={'0123456789abcdef' * 4}"
    agent.on("GET", "/v1/identity", [{"id": 1001, "labels": ["app=web", label]}])
    assert ciliate("identity", "list").out.endswith("1001  app=web network:id=0123456789ab…\n")
    assert label in ciliate("identity", "list", "-o", "yaml").out


def test_identities_in_use(agent: CannedAgent, ciliate: Ciliate) -> None:
    agent.on("GET", "/v1/identity/endpoints", [{"id": 1001, "labels": ["container:app=web"], "endpoints": 3}])
    assert ciliate("identity", "list", "--used").out == (
        "ID    ENDPOINTS  LABELS\n1001  3          container:app=web\n"
    )


def test_one_identity(agent: CannedAgent, ciliate: Ciliate) -> None:
    agent.on("GET", "/v1/identity/1001", {"id": 1001, "labels": ["container:app=web", "network:id=a1"]})
    assert ciliate("identity", "get", "1001").out == (
        "Identity  1001\nLabels    container:app=web\n          network:id=a1\n"
    )


def test_addresses(agent: CannedAgent, ciliate: Ciliate) -> None:
    agent.on(
        "GET",
        "/v1/ip",
        [
            address("10.200.0.2/32", 1001, network=1 << 24, network_name="shop", ifindex=12, endpoint=7),
            address("10.200.0.0/16", 0),
            address("10.200.7.2/32", 1002, network=0xFFFFFFFF, node="two"),
            address("10.200.7.3/32", 1002, network=2, node="two"),
        ],
    )
    assert ciliate("ip", "list").out == (
        "PREFIX         IDENTITY  ENDPOINT  NETWORK      NODE\n"
        "10.200.0.2/32  1001      7         shop         -\n"
        "10.200.0.0/16  unknown   -         -            -\n"
        "10.200.7.2/32  1002      -         of its host  two\n"
        "10.200.7.3/32  1002      -         2            two\n"
    )


def address(prefix: str, identity: int, **more: object) -> dict[str, object]:
    nothing = {"network": 0, "network_name": "", "node": "", "ifindex": 0, "endpoint": 0}
    return {"prefix": prefix, "identity": identity, **nothing, **more}


def test_nodes(agent: CannedAgent, ciliate: Ciliate) -> None:
    agent.on("GET", "/v1/node", [])
    assert ciliate("node", "list").err == "this host is alone\n"
    agent.on(
        "GET",
        "/v1/node",
        [
            node("one", local=True, slices=["10.200.0.0/24"], containers=2),
            node("two", slices=["10.200.1.0/24", "10.200.4.0/24"], containers=7),
            node("three", state="left", left_seconds=75.0),
            node("four", state="gone", left_seconds=7200.0, addresses=[], tunnel=""),
        ],
    )
    assert ciliate("node", "list").out == (
        "NAME   STATE            ADDRESSES  TUNNEL     SLICES                       CONTAINERS\n"
        "one    this one         192.0.2.1  192.0.2.1  10.200.0.0/24                2\n"
        "two    here             192.0.2.1  192.0.2.1  10.200.1.0/24 10.200.4.0/24  7\n"
        "three  left 1m 15s ago  192.0.2.1  192.0.2.1  -                            0\n"
        "four   gone 2h ago      -          -          -                            0\n"
    )


def node(name: str, **more: object) -> dict[str, object]:
    found: dict[str, object] = {
        "name": name,
        "local": False,
        "state": "here",
        "left_seconds": 0.0,
        "addresses": ["192.0.2.1"],
        "tunnel": "192.0.2.1",
        "slices": [],
        "containers": 0,
    }
    return {**found, **more}


SETTINGS = [
    {
        "name": "CILIATE_POOL",
        "value": "10.9.0.0/16",
        "default": "10.200.0.0/16",
        "help": "addresses",
        "source": "environment",
        "unbuilt": "",
    },
    {
        "name": "CILIATE_UI_ADDR",
        "value": "off",
        "default": "off",
        "help": "web UI",
        "source": "default",
        "unbuilt": "there is none",
    },
]


def test_settings(agent: CannedAgent, ciliate: Ciliate) -> None:
    agent.on("GET", "/v1/config", SETTINGS)
    assert ciliate("config").out == (
        "NAME             VALUE        FROM         MEANING\n"
        "CILIATE_POOL     10.9.0.0/16  environment  addresses\n"
        "CILIATE_UI_ADDR  off          default      web UI (not yet: there is none)\n"
    )
    assert json.loads(ciliate("config", "--given", "-o", "json").out) == SETTINGS[:1]


def test_the_entries_of_a_map_get_a_column_for_each_field(agent: CannedAgent, ciliate: Ciliate) -> None:
    entries = [
        {
            "key": {"identity": 1001, "direction": "ingress", "peer": 0, "protocol": "tcp", "port": "80"},
            "value": {"deny": False, "flags": ["via-stack", "reset"], "identity": 9},
        }
    ]
    expected = (
        "IDENTITY  DIRECTION  PEER  PROTOCOL  PORT  DENY  FLAGS            VALUE.IDENTITY\n"
        "1001      ingress    any   tcp       80    no    via-stack,reset  world-ipv4\n"
    )
    agent.on("GET", "/v1/map/policies", entries)
    assert ciliate("map", "get", "policies").out == expected
    assert ciliate("bpf", "policy", "list").out == expected
    assert json.loads(ciliate("bpf", "policy", "list", "-o", "json").out) == entries


def test_each_subject_of_bpf_reads_its_table(agent: CannedAgent, ciliate: Ciliate) -> None:
    for subject, table in (
        ("policy", "policies"),
        ("ct", "ct"),
        ("ipcache", "ipcache"),
        ("endpoint", "endpoints"),
        ("metrics", "metrics"),
    ):
        agent.on("GET", f"/v1/map/{table}", [])
        ran = ciliate("bpf", subject, "list")
        assert (ran.status, ran.err) == (0, "nothing there\n")
        assert agent.requests[-1][1] == f"/v1/map/{table}"


def test_versions(agent: CannedAgent, ciliate: Ciliate) -> None:
    agent.on("GET", "/v1/healthz", {"version": "0.1.0"})
    assert ciliate("version").out == f"Command  {VERSION}\nAgent    0.1.0\n"
    agent.socket.unlink()
    assert ciliate("version").out.endswith("Agent    does not answer\n")


def test_settings_are_changed_and_taken_back(agent: CannedAgent, ciliate: Ciliate) -> None:
    agent.on("PATCH", "/v1/config", [{**SETTINGS[0], "source": "api"}])
    assert "api" in ciliate("config", "CILIATE_POLICY_AUDIT=true", "CILIATE_POLICY_ENFORCEMENT=").out
    assert agent.requests[-1][3] == {"CILIATE_POLICY_AUDIT": "true", "CILIATE_POLICY_ENFORCEMENT": None}
    ran = ciliate("config", "CILIATE_POLICY_AUDIT")
    assert (ran.status, "is not NAME=VALUE" in ran.err) == (2, True)


def test_metrics_are_a_table_and_data(agent: CannedAgent, ciliate: Ciliate) -> None:
    agent.on(
        "GET",
        "/v1/metrics",
        b'# TYPE ciliate_map_entries gauge\nciliate_map_entries{map="policies/inner"} 3.0\n'
        b"# TYPE ciliate_policy_revision gauge\nciliate_policy_revision 1.234567e+06\n",
    )
    assert ciliate("metrics", "list").out == (
        "NAME                     LABELS              VALUE\n"
        "ciliate_map_entries      map=policies/inner  3\n"
        "ciliate_policy_revision  -                   1234567\n"
    )
    assert json.loads(ciliate("metrics", "list", "-o", "json").out)[0] == {
        "name": "ciliate_map_entries",
        "labels": {"map": "policies/inner"},
        "value": 3.0,
    }
