"""A node that serves is asked whether its kernel does what the rules say, and says so where somebody meddled."""

from __future__ import annotations

import sys

from tests.docker.harness.agent_process import REPOSITORY
from tests.docker.harness.commands import Result
from tests.kernel.agent.host import Host

RULE = {
    "endpointSelector": {"matchLabels": {"role": "web"}},
    "ingress": [
        {
            "fromEndpoints": [{"matchLabels": {"role": "client"}}],
            "toPorts": [{"ports": [{"port": "80", "endPort": 90, "protocol": "TCP"}]}],
        }
    ],
}

MEDDLE = """
from pathlib import Path
from datapath.kernel import KernelDatapath
from model.flow import Direction
from policy.mapstate import ALLOW, PolicyKey
with KernelDatapath(Path("/sys/fs/bpf/ciliate")) as datapath:
    for _, entry in datapath.endpoints.items():
        datapath.edit_policies([entry.policy], {PolicyKey(Direction.INGRESS): ALLOW}, ())
"""


def verify(host: Host, *options: str) -> Result:
    command = (sys.executable, "-m", "cli.main", "policy", "verify", *options)
    return host.sandbox.run(*command, cwd=REPOSITORY, check=False)


def test_a_node_verifies_itself(host: Host) -> None:
    pools = host.network(ipv6=True)
    for number, role in enumerate(("web", "client", "stranger"), 1):
        host.container(number, pools, [f"container:role={role}"])
    host.container(4, pools)
    host.api("PUT", "/v1/policy?wait=10", [RULE])
    flows = host.api("GET", "/v1/map/ct")
    answer = host.api("POST", "/v1/policy/verify?pairs=0&seed=1")
    assert answer["disagreements"] == []
    assert (answer["endpoints"], answer["rules"], answer["complete"], answer["seed"]) == (4, 1, True, 1)
    assert answer["pairs"] == answer["of"] > 50
    assert host.api("GET", "/v1/map/ct") == flows
    told = verify(host)
    assert told.status == 0
    assert "rules and kernel agree" in told.out

    host.run(sys.executable, "-c", f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\n{MEDDLE}")
    told = verify(host, "--all")
    assert told.status == 1
    assert "Policy denied (ingress)" in told.out
    assert "container:role=stranger" in told.out
    assert "please report it" in told.out + told.err
