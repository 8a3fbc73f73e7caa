"""The metrics of the real agent: how full each map is, and whether the newest rules are in force."""

from __future__ import annotations

import json

from tests.kernel.agent.host import READ_ONLY, Host
from tests.kernel.agent.test_maps import ciliate

RULE = {"endpointSelector": {"matchLabels": {"role": "web"}}, "ingress": [{"fromCIDR": ["192.0.2.0/24"]}]}


def test_how_full_each_map_is_can_be_read_by_who_may_only_read(host: Host) -> None:
    pools = host.network(ipv6=True)
    host.container(1, pools, ["role=web"])
    revision = host.api("PUT", "/v1/policy/name/base?wait=20", [RULE])["revision"]
    try:
        answer = host.ask(READ_ONLY, "GET", "/v1/metrics")
        assert answer.status == 200 and "# TYPE ciliate_map_entries gauge" in answer.text
        found = {
            (each["name"], *each["labels"].values()): each["value"]
            for each in json.loads(ciliate(host, "metrics", "list", "-o", "json").out)
        }
        for each in json.loads(ciliate(host, "map", "list", "-o", "json").out):
            assert found["ciliate_map_max_entries", each["name"]] == each["max_entries"]
            if each["name"] not in ("ct4", "ct6"):
                assert found.get(("ciliate_map_entries", each["name"])) == each["entries"], each["name"]
        assert found["ciliate_map_entries", "policies/inner"] > 0
        assert found["ciliate_endpoints", "ready"] == 1
        assert found["ciliate_policy_revision",] == revision
        assert found["ciliate_policy_newest_in_force",] == 1
    finally:
        host.api("DELETE", "/v1/policy/name/base?wait=20")
