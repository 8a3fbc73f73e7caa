"""The agent and the engine end, crash and come back; what runs goes on, and nothing is left over."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model.flow import DropReason
from tests.conftest import require
from tests.docker.harness.engines import SUITES
from tests.docker.harness.host import Host, speaker_mount
from tests.docker.harness.rules import allow, selector
from tests.docker.harness.world import FAR4


@pytest.fixture(params=[pytest.param(version, marks=pytest.mark.xdist_group(version)) for version in SUITES])
def own_host(request: pytest.FixtureRequest, fresh_host: Callable[..., Host]) -> Iterator[Host]:
    """A host that the story may break, with a network `n`, a `web` that admits role=ok, and two clients."""
    host = fresh_host(request.param)
    host.agent.start()
    host.network("n")
    host.serve("web", "--network", "n", "-l", "app=web")
    host.caller("good", "--network", "n", "-l", "role=ok")
    host.caller("bad", "--network", "n", "-l", "role=no")
    host.policy(allow(selector(app="web"), selector(role="ok")))
    yield host


def judged(host: Host) -> tuple[bool, bool]:
    """May good, may bad?"""
    web = host.address("web", "n")
    return bool(host.ask("good", "tcp", web, 80)), bool(host.ask("bad", "tcp", web, 80, seconds=0.5))


def held(host: Host, name: str, to: str, log: Path) -> Callable[[], int]:
    """A connection of `name` that is used 20 times a second from now on; the call ends it and says how often."""
    with log.open("wb") as output:
        process = host.sandbox.start(
            "docker", "exec", name, "python3", "/speaker.py", "hold", to, "80", log=output
        )
    host.until(lambda: log.read_text().count("web") > 3, "the connection lives")

    def end() -> int:
        assert process.poll() is None, "the connection was lost"
        process.kill()
        process.wait()
        return log.read_text().count("web")

    return end


def test_while_the_agent_is_down_and_comes_back_traffic_and_policy_go_on(
    own_host: Host, tmp_path: Path
) -> None:
    host = own_host
    end = held(host, "good", host.address("web", "n"), tmp_path / "held")
    identities = {name: endpoint["identity"] for name, endpoint in host.endpoints().items()}
    host.agent.stop()
    assert judged(host) == (True, False)
    host.agent.start()
    assert judged(host) == (True, False)
    assert {name: endpoint["identity"] for name, endpoint in host.endpoints().items()} == identities
    assert end() > 20


def test_a_killed_worker_comes_back_and_no_start_fails(own_host: Host, tmp_path: Path) -> None:
    host = own_host
    end = held(host, "good", host.address("web", "n"), tmp_path / "held")
    for round in range(3):
        host.agent.kill("agent")
        host.start(f"during{round}", "--network", "n")
        assert judged(host) == (True, False)
    assert end() > 20
    assert {f"during{round}" for round in range(3)} < set(host.endpoints())


def test_a_killed_supervisor_takes_nothing_with_it(own_host: Host) -> None:
    host = own_host
    worker = host.agent.pid("agent")
    host.agent.kill("supervisor")
    host.until(lambda: not host.path(f"/proc/{worker}").exists(), "the worker has ended too")
    assert judged(host) == (True, False)
    host.agent.start()
    assert judged(host) == (True, False)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_engine_that_ends_leaves_no_leak(own_host: Host, number: signal.Signals) -> None:
    host = own_host
    host.start("always", "--network", "n", "--restart", "always", "-l", "role=ok")
    assert len(host.links()) == 4
    host.engine.restart(number)
    host.until(
        lambda: set(host.endpoints()) == {"always"}, "the endpoints of what no longer runs are gone", 30
    )
    assert len(host.links()) == 1
    for name in ("web", "good", "bad"):
        host.docker("start", name)
    host.until(lambda: host.ask("web", "tcp", "127.0.0.1", 80), "web answers itself")
    assert judged(host) == (True, False)
    assert host.pings("always", host.address("web", "n"))
    host.remove("always", "web", "good", "bad")
    assert host.api("GET", "/v1/endpoint") == []
    host.docker("network", "rm", "n")
    assert host.run("ip", "route", "show", "table", "all").out.count("10.200.") == 0


def test_live_restore_keeps_containers_through_an_engine_restart(fresh_host: Callable[..., Host]) -> None:
    host = fresh_host(engine_options=("--live-restore",))
    host.agent.start()
    host.network("n")
    host.serve("web", "--network", "n", "-l", "app=web")
    host.caller("good", "--network", "n")
    before = host.endpoints()
    host.engine.restart()
    assert host.endpoints() == before
    assert host.ask("good", "tcp", host.address("web", "n"), 80)


def test_what_docker_took_away_while_the_agent_was_down_is_reconciled(
    fresh_host: Callable[..., Host],
) -> None:
    """The engine waits 15 s for each call to a driver that is not there, forgets the endpoint and goes on."""
    host = fresh_host()
    host.agent.start()
    host.network("n")
    host.start("stays", "--network", "n")
    host.start("goes", "--network", "n")
    gone = host.address("goes", "n")
    host.agent.stop()
    host.run("docker", "rm", "-f", "goes", timeout=180)
    host.agent.start()
    host.until(lambda: set(host.endpoints()) == {"stays"}, "the endpoint is forgotten", 90)
    host.until(
        lambda: gone not in host.run("ip", "route", "show", "table", "all").out, "so are its link and route"
    )

    def addresses() -> int:
        (pool,) = host.api("GET", "/v1/healthz")["ipam"]
        return int(pool["used"])

    host.until(
        lambda: addresses() == 2, "only the gateway's and the address of the one that stays are in use", 90
    )


def test_the_agent_starts_without_an_engine(fresh_host: Callable[..., Host]) -> None:
    host = fresh_host()
    host.engine.stop()
    host.agent.start()
    assert host.api("GET", "/v1/healthz")["docker"]["state"] != "ok"
    host.engine.start()
    host.network("n")
    host.start("box", "--network", "n")
    assert host.endpoints()["box"]["state"] == "ready"


def test_an_agent_that_cannot_start_hangs_neither_a_run_nor_the_engine_s_boot(own_host: Host) -> None:
    host = own_host
    host.start("mine", "--network", "n", "--restart", "always")
    host.start("other", "--restart", "always")
    host.agent.stop()
    records = host.path("/var/lib/ciliate/node.db")
    kept = records.read_bytes()
    records.write_bytes(b"garbage" * 1000)
    host.agent.start(wait=False)
    host.until(lambda: host.path("/run/ciliate/worker.failure").exists(), "the worker has said why")
    failed = host.docker("run", "--rm", "--network", "n", "box", "true", check=False)
    assert failed.status == 125 and "node.db" in failed.err
    status = host.ciliate("status", check=False)
    assert status.status == 1 and "node.db" in status.err
    host.engine.restart(signal.SIGKILL)
    assert host.inspect("other")["State"]["Running"], "whoever has nothing to do with ciliate"

    records.write_bytes(kept)
    host.agent.wait_ready()
    host.docker("start", "mine")
    assert host.endpoints()["mine"]["state"] == "ready"


def test_a_killed_worker_under_load_costs_no_packet_and_opens_nothing(
    fresh_host: Callable[..., Host],
) -> None:
    host = fresh_host()
    require(shutil.which("iperf3") is not None, "iperf3")
    host.agent.start()
    host.network("n")
    labels = ("--network", "n", "-l", "app=web")
    host.start("web", *labels, *speaker_mount(), image="machine", command=("iperf3", "-s"))
    host.caller("good", "--network", "n", "-l", "role=ok")
    host.caller("bad", "--network", "n", "-l", "role=no")
    host.policy(allow(selector(app="web"), selector(role="ok")))
    web = host.address("web", "n")
    load = host.sandbox.directory / "load"
    host.until(lambda: host.docker("exec", "good", *client(web, 1), check=False).status == 0, "iperf3 serves")

    before = drops(host)
    with load.open("wb") as output:
        running = host.sandbox.start("docker", "exec", "good", *client(web, 8), log=output)
    for _ in range(3):
        host.settle(0.5)
        kill_worker(host)
    assert running.wait(60) == 0, load.read_text()
    sent = json.loads(load.read_text())
    assert sent["end"]["sum_received"]["bytes"] > 0 and "error" not in sent
    assert drops(host) == before
    for _ in range(3):
        host.agent.kill("agent")
        assert not host.ask("bad", "tcp", web, 5201, seconds=0.3)
        host.agent.wait_ready()
    denied = [flow for flow in host.flows("verdict=DROPPED") if flow["reason"] == "POLICY_DENIED"]
    identities = {flow["source"]["identity"] for flow in denied}  # with the agent down nobody knows a name
    assert identities == {host.endpoints()["bad"]["identity"]}


def client(address: str, seconds: int) -> tuple[str, ...]:
    return ("iperf3", "-c", address, "-t", str(seconds), "-J")


def kill_worker(host: Host) -> None:
    worker = host.agent.pid("agent")
    host.agent.kill("agent")
    host.until(lambda: host.agent.pid("agent") != worker, "another worker is there")


def drops(host: Host) -> dict[str, int]:
    """Packets by reason; what containers send to everybody when their links come up is dropped as ever."""
    return {
        f"{entry['key']['text']} {entry['key']['direction']}": entry["value"]["packets"]
        for entry in host.api("GET", "/v1/map/metrics")
        if entry["key"]["reason"]
        not in (DropReason.NONE, DropReason.MULTICAST, DropReason.NEIGHBOUR_FORBIDDEN)
    }


def test_an_engine_that_has_lost_its_firewall_rules_gets_ours_back(fresh_host: Callable[..., Host]) -> None:
    host = fresh_host()
    host.agent.start()
    host.network("n", "--ipv6")
    host.caller("client", "--network", "n", "--restart", "always")

    def ours() -> list[str]:
        return [line for line in host.run("iptables", "-S").lines if "--comment ciliate" in line]

    before = ours()
    assert before and all(line.startswith("-A DOCKER-USER") for line in before)
    host.engine.restart()
    host.until(lambda: ours() == before, "the engine's restart leaves them")
    host.engine.stop()
    host.run("iptables", "-F")
    host.run("iptables", "-X")
    assert ours() == []
    host.engine.start()
    host.until(lambda: ours() == before, "they are made anew")
    with host.world.serving(7):
        host.until(lambda: host.ask("client", "tcp", FAR4, 7), "the container reaches the world")
