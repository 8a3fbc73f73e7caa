"""The machine loses its power and is switched on again: containers come back, judged from their first packet."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.docker.harness.engines import SUITES
from tests.docker.harness.host import Host
from tests.docker.harness.power import cut, switch_on
from tests.docker.harness.rules import allow_entities, allow_out, selector
from tests.docker.harness.world import FAR4, HOST4, ROUTER4, SPEAKER

PACKETS = 20


@pytest.mark.parametrize(
    "version", [pytest.param(version, marks=pytest.mark.xdist_group(version)) for version in SUITES]
)
def test_rules_of_a_moment_ago_judge_the_first_packet_after_a_reboot(
    version: str, fresh_host: Callable[..., Host]
) -> None:
    host = fresh_host(version)
    host.agent.start()
    host.load_sprinter()
    host.network("n")
    always = ("--network", "n", "--restart", "always")
    host.serve("web", *always, "-l", "app=web", "-p", "8080:80")
    host.caller("client", *always, "-l", "role=ok")
    for number in range(20000, 20004):
        role = "ok" if number % 2 == 0 else "no"
        host.start(
            f"sprinter{number}",
            *(*always, "-l", f"role={role}"),
            image="sprint",
            command=(FAR4, "9", str(number), str(PACKETS)),
        )
    assert host.ask("client", "tcp", host.address("web", "n"), 80)
    before = {name: endpoint["identity"] for name, endpoint in host.endpoints().items()}

    rules = [allow_out(selector(role="no"), "host"), allow_entities(selector(app="web"), "world")]
    host.api("PUT", "/v1/policy", rules)  # 200: it is stored, and in force before anybody's first packet
    time.sleep(0.01)
    cut(host)
    assert host.links() == [] and host.run("nft", "list", "ruleset").out == ""

    heard = host.sandbox.directory / "heard"
    with heard.open("wb") as log:
        recorder = host.sandbox.start(
            *("ip", "netns", "exec", "world", "python3", SPEAKER, "record", "9"), log=log
        )
        try:
            switch_on(host)
            host.until(lambda: len(host.docker("ps", "-q").lines) == 6, "all containers are back", 60)
            host.until(
                lambda: len(heard.read_text().splitlines()) >= 2 * PACKETS, "all that may has been heard"
            )
            host.settle()
        finally:
            recorder.terminate()
            recorder.wait()
    assert sorted(heard.read_text().splitlines()) == sorted(
        f"{number} {packet}" for number in (20000, 20002) for packet in range(PACKETS)
    )
    host.until(lambda: host.world.ask("tcp", HOST4, 8080) == f"web {ROUTER4}", "the port is back")
    assert not host.ask("client", "tcp", host.address("web", "n"), 80, seconds=0.5)
    assert host.ask_from_host("tcp", HOST4, 8080, seconds=0.5) == "", "the host is not the world"
    assert host.api("GET", "/v1/policy")["policy"] == rules
    assert {name: endpoint["identity"] for name, endpoint in host.endpoints().items()} == before
    assert all(endpoint["state"] == "ready" for endpoint in host.endpoints().values())
