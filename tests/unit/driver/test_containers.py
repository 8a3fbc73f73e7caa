"""Who stands behind an endpoint, asked of an engine that may freeze, vanish and come back."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from driver.containers import BUDGET_SECONDS, Containers
from driver.facts import ContainerFacts
from model.endpoint import Endpoint
from model.errors import Unavailable
from tests.unit.driver.engine import Engine

WEB = Endpoint(
    id=1, docker_id="e" * 64, network_id="n" * 64, mac="02:42:0a:4d:00:32", ipv4=IPv4Address("10.77.0.50")
)


class Listener:
    def __init__(self) -> None:
        self.ups = 0
        self.changes: list[tuple[str, str, str]] = []

    def engine_up(self) -> None:
        self.ups += 1

    def changed(self, kind: str, action: str, identifier: str) -> None:
        self.changes.append((kind, action, identifier))
        raise RuntimeError("a listener that fails does not end the watch")


class Story:
    def __init__(self, directory: Path) -> None:
        self.engine = Engine(directory / "docker.sock")
        self.engine.start()
        self.engine.add("web", WEB.docker_id, WEB.network_id, {"app": "web"})
        self.listener = Listener()
        self.remembered: list[Path] = []
        self.containers = Containers(self.engine.url, None, self.remembered.append)

    def watch(self) -> None:
        self.containers.start(self.listener)
        until(lambda: self.listener.changes)


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    made = Story(tmp_path)
    yield made
    made.engine.thaw.set()
    made.engine.end_streams.set()
    made.containers.close()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_container_behind_an_endpoint(story: Story) -> None:
    story.engine.images["im"] = {"Config": {"Labels": {"vendor": "x"}}, "RepoDigests": ["im@sha256:0"]}
    story.watch()
    assert story.containers.find(WEB) == ContainerFacts("id-web", "web", {"app": "web"}, {"vendor": "x"})
    assert story.containers.state.up and story.containers.state.version == "20.10.24"
    assert story.remembered == [story.engine.root]
    assert story.listener.ups == 1 and ("network", "connect", "n") in story.listener.changes


def test_a_container_is_never_inspected_and_its_image_once(story: Story) -> None:
    story.watch()
    story.engine.asked.clear()
    for _ in range(3):
        story.containers.find(WEB)
    assert not any(path.endswith("/json") and "/containers/id" in path for path in story.engine.asked)
    assert sum("/images/" in path for path in story.engine.asked) == 1


def write_record(story: Story, name: str) -> None:
    """The engine's own record of the endpoint."""
    files = story.engine.root / "network" / "files"
    files.mkdir(parents=True, exist_ok=True)
    value = {"ep_iface": {"addr": "10.77.0.50/24"}, "id": WEB.docker_id, "name": name}
    key = f"docker/network/v1.0/endpoint/{WEB.network_id}/{WEB.docker_id}/".encode()
    (files / "local-kv.db").write_bytes(key + bytes(8) + json.dumps(value).encode())


def test_a_network_is_not_asked_where_the_engines_record_tells(story: Story) -> None:
    story.watch()
    write_record(story, "web")
    story.engine.asked.clear()
    facts = story.containers.find(WEB)
    assert facts is not None and facts.name == "web"
    assert not any("/networks" in path for path in story.engine.asked)


def test_a_record_that_is_out_of_date_leads_back_to_the_network(story: Story) -> None:
    story.watch()
    write_record(story, "renamed-since")
    facts = story.containers.find(WEB)
    assert facts is not None and facts.name == "web"


def test_what_is_not_known_is_not_guessed(story: Story) -> None:
    story.watch()
    other = Endpoint(id=2, docker_id="f" * 64, network_id="n" * 64, mac="")
    assert story.containers.find(other) is None, "no such endpoint"
    assert story.containers.find(Endpoint(id=2, docker_id="f" * 64, network_id="x" * 64, mac="")) is None
    story.engine.images.clear()
    assert story.containers.find(WEB) is None, "its image is gone"
    story.engine.containers.clear()
    assert story.containers.find(WEB) is None, "the container is gone"


def test_a_frozen_engine_costs_one_budget_and_then_nothing(story: Story) -> None:
    story.watch()
    story.engine.thaw.clear()
    begin = time.monotonic()
    assert story.containers.find(WEB) is None
    first = time.monotonic() - begin
    begin = time.monotonic()
    for _ in range(50):
        assert story.containers.find(WEB) is None
    rest = time.monotonic() - begin
    assert BUDGET_SECONDS * 0.9 < first < BUDGET_SECONDS + 0.5
    assert rest < 0.5, "fifty containers at boot do not wait one after the other"
    assert not story.containers.state.up


def test_an_engine_that_thaws_is_asked_again(story: Story) -> None:
    story.watch()
    story.engine.thaw.clear()
    story.containers.find(WEB)
    story.engine.thaw.set()
    until(lambda: story.containers.state.up)
    assert story.containers.find(WEB) is not None
    until(lambda: story.listener.ups == 2)


def test_an_engine_that_is_restarted(story: Story) -> None:
    story.watch()
    story.engine.stop()
    until(lambda: not story.containers.state.up)
    begin = time.monotonic()
    assert story.containers.find(WEB) is None
    assert time.monotonic() - begin < BUDGET_SECONDS, "a closed stream says as much as a time-out"
    with pytest.raises(Unavailable, match="is the engine at"):
        story.containers.find_patiently(WEB)
    story.engine.start()
    until(lambda: story.listener.ups == 2)
    assert story.containers.find(WEB) is not None


def test_nobody_waits_for_an_engine_at_start(tmp_path: Path) -> None:
    containers = Containers(f"unix://{tmp_path}/nowhere.sock", None, lambda _root: None)
    begin = time.monotonic()
    containers.start(Listener())
    assert containers.find(WEB) is None
    assert time.monotonic() - begin < 0.2
    assert not containers.state.up and containers.state.version == ""
    containers.close()


def test_lists_for_the_background(story: Story) -> None:
    story.watch()
    assert story.containers.networks().keys() == {WEB.network_id}
    assert (story.containers.network(WEB.network_id) or {})["Name"] == WEB.network_id
    assert story.containers.network("x") is None
    assert [found["Id"] for found in story.containers.running()] == ["id-web"]
    facts = story.containers.find_patiently(WEB)
    assert facts is not None and facts.name == "web"
