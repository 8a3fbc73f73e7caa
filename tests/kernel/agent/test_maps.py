"""Which maps of the kernel can be read, by the real agent."""

from __future__ import annotations

import json
import sys

from tests.docker.harness.agent_process import REPOSITORY
from tests.docker.harness.commands import Result
from tests.kernel.agent.host import Host


def ciliate(host: Host, *words: str, completing: bool = False) -> Result:
    """With `completing`, what bash offers for the last word."""
    environment = {
        "_CILIATE_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["ciliate", *words]),
        "COMP_CWORD": str(len(words)),
    }
    return host.sandbox.run(
        *(sys.executable, "-m", "cli.main"),
        *(() if completing else words),
        cwd=REPOSITORY,
        env=environment if completing else {},
        check=False,
    )


def test_every_name_that_is_offered_can_be_read_and_of_the_others_it_is_said(host: Host) -> None:
    pools = host.network(ipv6=True)
    host.container(1, pools, ["role=web"])
    maps = json.loads(ciliate(host, "map", "list", "-o", "json").out)
    offered = [
        line.partition(",")[2] for line in ciliate(host, "map", "get", "", completing=True).out.splitlines()
    ]
    assert {"ct4", "ct6", "hosts4", "prefixes6", "endpoints"} <= set(offered)
    assert offered == [each["name"] for each in maps if each["readable"]]
    read = {name: ciliate(host, "map", "get", name, "-o", "json") for name in (*offered, "ct", "ipcache")}
    assert {name: ran.err for name, ran in read.items() if ran.status} == {}
    entries = {name: json.loads(ran.out) for name, ran in read.items()}
    for each in maps:
        if each["readable"] and each["name"] not in ("policies", "metrics"):
            assert len(entries[each["name"]]) == each["entries"], each["name"]
    for whole, parts in (
        ("ct", ("ct4", "ct6")),
        ("ipcache", ("hosts4", "hosts6", "prefixes4", "prefixes6")),
    ):
        assert len(entries[whole]) == sum(len(entries[part]) for part in parts)
    for name in {each["name"] for each in maps} - set(offered):
        refused = ciliate(host, "map", "get", name)
        said = "inside `policies`" if name == "policies/inner" else "for the programs alone"
        assert refused.status == 1 and said in refused.err
    assert "no map 'nonsense'" in ciliate(host, "map", "get", "nonsense").err
