"""Labels decide who a container is, from its first packet on."""

from __future__ import annotations

import re
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.docker.harness.engines import SUITES
from tests.docker.harness.host import Host, speaker_mount
from tests.docker.harness.rules import allow, allow_out, selector
from tests.docker.harness.world import FAR4, SPEAKER

PACKETS = 20
"""That each sprinter sends, one a millisecond, the first by its first instruction."""

FIRST_PORT = 20000


def received(host: Host, container: str) -> dict[int, list[int]]:
    """By sprinter: the numbers of its packets that came, in order."""
    heard: dict[int, list[int]] = defaultdict(list)
    for line in host.docker("logs", container).lines:
        sprinter, number = line.split()
        heard[int(sprinter)].append(int(number))
    return heard


def sprint(host: Host, number: int, target: str, *options: str) -> None:
    """Even sprinters are labelled role=ok, odd ones role=no."""
    role = "ok" if number % 2 == 0 else "no"
    host.start(
        f"sprinter{number}",
        *("--network", "n", "-l", f"role={role}", *options),
        image="sprint",
        command=(target, "9", str(number), str(PACKETS)),
    )


def test_no_packet_leaves_under_a_wrong_identity_and_none_is_lost(any_host: Host) -> None:
    """200 starts, 20 at a time, of containers that send from their first instruction."""
    host = any_host
    host.load_sprinter()
    host.network("n")
    host.start(
        "finish",
        *("--network", "n", "-l", "app=finish", *speaker_mount()),
        image="machine",
        command=("python3", "/speaker.py", "record", "9"),
    )
    host.policy(allow(selector(app="finish"), selector(role="ok")))
    target = host.address("finish", "n")
    numbers = range(FIRST_PORT, FIRST_PORT + 200)
    with (
        host.capture("any", f"udp dst port 9 and dst host {target} and inbound") as capture,
        ThreadPoolExecutor(20) as pool,
    ):
        for batch in range(0, 200, 20):
            some = numbers[batch : batch + 20]
            list(pool.map(lambda number: sprint(host, number, target), some))
            list(pool.map(lambda number: sent(host, number), some))
            host.until(lambda batch=set(some): batch <= speaking(host), "each was seen sending")
            host.docker("rm", "-f", *(f"sprinter{number}" for number in some))

    on_the_wire: dict[int, int] = defaultdict(int)
    for line in capture.lines:
        packet = re.search(rf" [\d.]+\.(\d+) > {target}\.9: ", line)
        assert packet, line
        on_the_wire[int(packet[1])] += 1
    assert set(on_the_wire) == set(numbers), "every sprinter was seen sending"
    heard = received(host, "finish")
    expected = {number: list(range(PACKETS)) for number in on_the_wire if number % 2 == 0}
    assert set(heard) <= set(expected), "nobody unlabelled came through"
    assert {number: heard.get(number) for number in expected} == expected, "and nothing labelled was lost"
    wrong = [
        flow
        for flow in host.flows("last=10000")
        if FIRST_PORT <= flow["source"]["port"] < FIRST_PORT + 200
        and f"container:role={'ok' if flow['source']['port'] % 2 == 0 else 'no'}"
        not in flow["source"]["labels"]
    ]
    assert not wrong


def speaking(host: Host) -> set[int]:
    """The sprinters of which the datapath has told a packet."""
    return {flow["source"]["port"] for flow in host.flows("last=10000")}


def sent(host: Host, number: int) -> None:
    host.until(lambda: "sent" in host.docker("logs", f"sprinter{number}").out, f"sprinter{number} is through")


@pytest.fixture(params=[pytest.param(version, marks=pytest.mark.xdist_group(version)) for version in SUITES])
def own_host(request: pytest.FixtureRequest, fresh_host: Callable[..., Host]) -> Iterator[Host]:
    host = fresh_host(request.param)
    host.agent.start()
    yield host


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_at_engine_boot_containers_are_known_too(own_host: Host, number: signal.Signals) -> None:
    """The engine answers no question until all restart=always containers run, and they ask the driver to be
    started: their labels come from the engine's records."""
    host = own_host
    host.load_sprinter()
    host.network("n")
    host.policy(allow_out(selector(role="no"), "host"))
    heard = host.sandbox.directory / "heard"
    with heard.open("wb") as log:
        world = ("ip", "netns", "exec", "world", "python3", SPEAKER, "record", "9")
        recorder = host.sandbox.start(*world, log=log)
        try:
            for sprinter in range(FIRST_PORT, FIRST_PORT + 10):
                sprint(host, sprinter, FAR4, "--restart", "always")
                sent(host, sprinter)
            before = len(heard.read_text().splitlines())
            assert before == 5 * PACKETS
            host.engine.restart(number)
            host.until(lambda: len(host.docker("ps", "-q").lines) == 10, "all containers are back")
            host.until(
                lambda: len(heard.read_text().splitlines()) >= 10 * PACKETS, "all that may has been heard"
            )
            host.settle()
        finally:
            recorder.terminate()
            recorder.wait()
    lines = [line.split() for line in heard.read_text().splitlines()[before:]]
    assert {
        sprinter: [int(n) for s, n in lines if int(s) == sprinter] for sprinter in {int(s) for s, _ in lines}
    } == {sprinter: list(range(PACKETS)) for sprinter in range(FIRST_PORT, FIRST_PORT + 10, 2)}
    assert all(endpoint["state"] == "ready" for endpoint in host.endpoints().values())


def test_labels_of_an_image_are_no_identity(host: Host) -> None:
    """An untrusted image must not name itself role=ok."""
    host.network("n")
    host.start("maker")
    host.docker("commit", "--change", "LABEL role=ok", "maker", "pretender")
    host.serve("web", "--network", "n", "-l", "app=web")
    host.policy(allow(selector(app="web"), selector(role="ok")))
    web = host.address("web", "n")
    host.start("image-only", "--network", "n", image="pretender")
    host.start("labelled", "--network", "n", "-l", "role=ok", image="box")
    assert not host.pings("image-only", web, seconds=1)
    assert host.pings("labelled", web)
    endpoint = host.endpoints()["image-only"]
    assert "image:role=ok" in endpoint["info_labels"]
    assert not [label for label in endpoint["labels"] if "role" in label]


def test_labels_by_driver_option_win(host: Host) -> None:
    host.network("n")
    option = "name=n,driver-opt=ciliate.labels=role=ok"
    host.start("box", "--network", option, "-l", "role=no")
    labels = host.endpoints()["box"]["labels"]
    assert "opt:role=ok" in labels


def test_labels_that_only_ciliate_gives_are_refused(host: Host) -> None:
    host.network("n")
    option = "name=n,driver-opt=ciliate.labels=reserved:host="
    failed = host.docker("run", "-d", "--name", "forger", "--network", option, "box", check=False)
    assert failed.status != 0 and "ciliate.labels" in failed.err


def test_new_labels_make_a_new_identity_at_once(host: Host) -> None:
    host.network("n")
    host.serve("web", "--network", "n", "-l", "app=web")
    host.caller("client", "--network", "n", "-l", "role=no")
    host.policy(allow(selector(app="web"), selector(role="ok")))
    web = host.address("web", "n")
    before = host.endpoints()["client"]
    assert not host.ask("client", "tcp", web, 80, seconds=0.5)
    host.api("PATCH", f"/v1/endpoint/{before['id']}/labels", {"labels": ["container:role=ok"]})
    assert host.ask("client", "tcp", web, 80)
    assert host.endpoints()["client"]["identity"] != before["identity"]
    host.api("PATCH", f"/v1/endpoint/{before['id']}/labels", {"labels": None})
    assert not host.ask("client", "tcp", web, 80, seconds=0.5)


def test_the_same_labels_are_one_identity(host: Host) -> None:
    host.network("n")
    for name in ("one", "two"):
        host.start(name, "--network", "n", "-l", "app=same")
    one, two = (host.endpoints()[name] for name in ("one", "two"))
    assert one["identity"] == two["identity"] >= 256
    assert f"network:id={one['network_id']}" in one["labels"]
