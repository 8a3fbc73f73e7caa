"""One screen that says how everything is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.cli.conftest import CannedAgent, Ciliate

HEALTH: dict[str, Any] = {
    "status": "ok",
    "version": "0.1.0",
    "node": "host-1",
    "cluster": "default",
    "uptime": 11_553.2,
    "policy_revision": 14,
    "policy_enforcement": "default",
    "policy_audit": False,
    "endpoints": {"total": 12, "ready": 11, "waiting": 0},
    "store": {"state": "ok"},
    "nodes": {},
    "docker": {"state": "ok", "version": "28.5.2"},
    "datapath": {"abi": 1, "attach": "tcx", "compiled": False, "lost_events": 0},
    "ipam": [
        {"pool": "10.200.0.0/24", "network": "shop", "size": 253, "used": 12},
        {"pool": "fd00:c111::/64", "network": "shop", "size": 2**64, "used": 12},
    ],
    "children": [
        {"name": "worker", "pid": 101, "state": "running", "restarts": 0},
        {"name": "observe", "pid": 102, "state": "running", "restarts": 2},
    ],
    "warnings": [],
    "masquerade": True,
    "uplinks": ["eth0", "wg0"],
}
MAPS: list[dict[str, Any]] = [
    {
        "name": "endpoints",
        "type": "hash",
        "entries": 12,
        "max_entries": 65536,
        "key_size": 4,
        "value_size": 44,
        "readable": True,
    },
    {
        "name": "ct4",
        "type": "lru_hash",
        "entries": 31457,
        "max_entries": 262144,
        "key_size": 16,
        "value_size": 64,
        "readable": True,
    },
    {
        "name": "events",
        "type": "ringbuf",
        "entries": None,
        "max_entries": 1048576,
        "key_size": 0,
        "value_size": 0,
        "readable": False,
    },
]
OBSERVER = {"status": "ok", "seen": 9000, "kept": 4096}


@pytest.fixture(autouse=True)
def _well(agent: CannedAgent, observer: CannedAgent) -> None:
    agent.on("GET", "/v1/healthz", HEALTH)
    agent.on("GET", "/v1/map", MAPS)
    observer.on("GET", "/v1/healthz", OBSERVER)


def test_all_is_well(ciliate: Ciliate) -> None:
    ran = ciliate("status")
    assert ran.status == 0
    assert ran.out == (
        "Agent       ok, version 0.1.0, up 3h 12m\n"
        "Node        host-1, cluster default\n"
        "Endpoints   11 ready, 1 not running\n"
        "Policy      revision 14, enforcement default\n"
        "Datapath    tcx, ABI 1, from the compile cache\n"
        "Flows       9000 seen, 4096 kept, 0 lost\n"
        "Docker      ok 28.5.2\n"
        "Store       ok\n"
        "Uplinks     eth0, wg0\n"
        "Masquerade  on\n"
        "Pools       10.200.0.0/24 5% (12 of 253) shop\n"
        "            fd00:c111::/64 <1% (12 of 18446744073709551616) shop\n"
        "Maps        ct4 12%, endpoints <1%\n"
        "Processes   worker running (pid 101), observe running (pid 102, restarted 2 times)\n"
        "\n"
        "Nothing needs attention.\n"
    )


def test_what_is_wrong_and_what_to_do(agent: CannedAgent, observer: CannedAgent, ciliate: Ciliate) -> None:
    agent.on(
        "GET",
        "/v1/healthz",
        {
            **HEALTH,
            "status": "degraded",
            "endpoints": {"total": 3, "ready": 1, "waiting": 2},
            "docker": {"state": "not answering", "detail": "timeout"},
            "ipam": [{"pool": "10.200.1.0/28", "network": "tiny", "size": 13, "used": 13}],
            "children": [{"name": "observe", "pid": 0, "state": "waiting to restart", "restarts": 9}],
            "warnings": [
                {
                    "kind": "BYPASS",
                    "text": "container db is also on the bridge network `old`",
                    "hint": "docker network disconnect old db",
                }
            ],
        },
    )
    agent.on("GET", "/v1/map", [{**MAPS[0], "entries": 65000}, {**MAPS[1], "entries": 262144}])
    observer.socket.unlink()
    ran = ciliate("status")
    assert ran.status == 1
    _, troubles = ran.out.split("\n\n")
    assert troubles == (
        "BYPASS container db is also on the bridge network `old`\n"
        "  hint: docker network disconnect old db\n"
        "WAITING 2 endpoint(s) have no labels yet and may talk to nobody\n"
        "  hint: `ciliate endpoint list` names them; labels come from Docker: does `docker ps` answer?\n"
        "DOCKER docker is not answering (timeout): labels of new containers cannot be read\n"
        "  hint: does it run (`systemctl status docker`), and there? DOCKER_HOST says where it is; right after a start"
        " ask once more\n"
        "PROCESS observe is waiting to restart\n"
        "  hint: `journalctl -u ciliate` tells why\n"
        "PROCESS ciliate-observe does not answer: no flows, no metrics\n"
        "  hint: `journalctl -u ciliate` tells why\n"
        "POOL 10.200.1.0/28 has 0 of 13 addresses left\n"
        "  hint: remove containers, or make a network with a larger --subnet\n"
        "MAP the map endpoints holds 65000 of 65536 entries\n"
        "  hint: once it is full, new entries are refused and what needs them is dropped\n"
    )


def test_verbose_shows_every_map(ciliate: Ciliate) -> None:
    assert (
        "NAME       TYPE      ENTRIES  MOST     FULL  KEY  VALUE  READ\n"
        "endpoints  hash      12       65536    <1%   4    44     yes\n"
        "ct4        lru_hash  31457    262144   12%   16   64     yes\n"
        "events     ringbuf   -        1048576  -     0    0      no\n"
    ) in ciliate("status", "--verbose").out


def test_many_pools_are_cut_to_the_fullest(agent: CannedAgent, ciliate: Ciliate) -> None:
    pools = [
        {"pool": f"10.200.{number}.0/24", "network": f"n{number}", "size": 253, "used": number * 10}
        for number in range(9)
    ]
    agent.on("GET", "/v1/healthz", {**HEALTH, "ipam": pools})
    shown = ciliate("status").out
    assert "Pools       10.200.8.0/24 32%" in shown and "and 3 more: --verbose" in shown
    assert "10.200.0.0/24 0%" in ciliate("status", "-v").out


def test_a_datapath_that_is_not_loaded_hides_nothing_else(agent: CannedAgent, ciliate: Ciliate) -> None:
    agent.on("GET", "/v1/map", {"error": "the datapath is not loaded", "path": "", "hint": ""}, 503)
    assert "Maps        empty\n" in ciliate("status").out


def test_for_programs(ciliate: Ciliate) -> None:
    assert json.loads(ciliate("status", "-o", "json").out) == {
        "agent": HEALTH,
        "maps": MAPS,
        "observer": OBSERVER,
    }


def test_no_agent(agent: CannedAgent, ciliate: Ciliate) -> None:
    agent.socket.unlink()
    ran = ciliate("status")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.splitlines()[1] == "hint: start it: `systemctl start ciliate` (or `make run` in a clone)"


def test_the_cluster_is_shown_where_there_is_one(agent: CannedAgent, ciliate: Ciliate) -> None:
    agent.on("GET", "/v1/map", MAPS)
    for nodes, text in (({"here": 3}, "3 nodes here"), ({"here": 2, "left": 1}, "2 nodes here, 1 left")):
        agent.on("GET", "/v1/healthz", {**HEALTH, "nodes": nodes})
        assert f"Cluster     {text}\n" in ciliate("status").out
    agent.on("GET", "/v1/healthz", HEALTH)
    assert "Cluster" not in ciliate("status").out
