"""Docker forgets without a word; what it forgot goes, what is only under way stays."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from driver.containers import EngineState, Listener
from driver.facts import ContainerFacts
from driver.reconcile import FORGOTTEN_SECONDS, AddressesInUse, Reconciler
from model.endpoint import Endpoint, EndpointState
from model.errors import Unavailable
from model.identity import Reserved
from model.labels import Labels
from model.network import IPNetwork
from tests.kernel.driver.agent import E1, E2, N1, N2, Agent
from tests.kernel.netns import in_own_netns


class MemoryEngine:
    """Shows what it is told to show."""

    def __init__(self) -> None:
        self.up = True
        self.shown: dict[str, dict[str, Any]] = {}
        self.facts: dict[str, ContainerFacts] = {}
        self.asked: list[str] = []
        self.listener: Listener | None = None

    @property
    def state(self) -> EngineState:
        return EngineState(self.up, "test")

    def start(self, listener: Listener) -> None:
        self.listener = listener

    def close(self) -> None:
        self.listener = None

    def find_patiently(self, endpoint: Endpoint) -> ContainerFacts | None:
        self._must_answer()
        self.asked.append(endpoint.docker_id)
        return self.facts.get(endpoint.docker_id)

    def networks(self) -> Mapping[str, Mapping[str, Any]]:
        self._must_answer()
        return {number: {**shown, "Containers": {}} for number, shown in self.shown.items()}

    def network(self, docker_id: str) -> Mapping[str, Any] | None:
        self._must_answer()
        return self.shown.get(docker_id)

    def _must_answer(self) -> None:
        if not self.up:
            raise Unavailable("the engine does not answer")

    def show(self, number: str, name: str, subnet: str, *endpoints: str, ipam: str = "ciliate") -> None:
        self.shown[number] = {
            "Name": name,
            "Driver": "ciliate",
            "IPAM": {
                "Driver": ipam,
                "Config": [{"Subnet": subnet, "Gateway": subnet.replace(".0/24", ".1")}],
            },
            "Containers": {
                f"ep-{endpoint}": {"EndpointID": endpoint, "IPv4Address": f"10.200.0.{2 + i}/24"}
                for i, endpoint in enumerate(endpoints)
            },
        }


class Story:
    def __init__(self) -> None:
        self.agent = Agent()
        self.engine = MemoryEngine()
        self.pools: list[IPNetwork] = [ip_network("10.200.0.0/24")]
        self.in_use: list[AddressesInUse] = []
        self.reconciler = Reconciler(
            self.agent.realm,
            self.agent.networks,
            self.engine,
            self.agent.host,
            lambda: self.pools,
            self.in_use.append,
        )
        self.agent.create_network()
        self.engine.show(N1, "shop", "10.200.0.0/24")

    def endpoints(self) -> set[str]:
        return set(self.agent.realm.endpoints())


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@in_own_netns
def test_an_endpoint_that_docker_forgot() -> None:
    story = Story()
    story.agent.start()
    story.agent.start(E2, "10.200.0.3/24")
    story.engine.show(N1, "shop", "10.200.0.0/24", E2)
    story.reconciler.sweep(now=0.0)
    story.reconciler.sweep(now=FORGOTTEN_SECONDS - 1)
    assert story.endpoints() == {E1, E2}, "it may be under way"
    story.reconciler.sweep(now=FORGOTTEN_SECONDS)
    assert story.endpoints() == {E2}
    story.agent.close()


@in_own_netns
def test_a_network_that_docker_forgot() -> None:
    story = Story()
    story.agent.create_network(N2, "10.201.0.0/24")
    story.reconciler.sweep(now=0.0)
    story.reconciler.sweep(now=FORGOTTEN_SECONDS)
    assert set(story.agent.realm.networks()) == {N1}
    story.agent.close()


@in_own_netns
def test_an_engine_that_does_not_answer_has_forgotten_nothing() -> None:
    story = Story()
    story.agent.start()
    story.engine.up = False
    for now in (0.0, FORGOTTEN_SECONDS):
        with pytest.raises(Unavailable):
            story.reconciler.sweep(now)
    assert story.endpoints() == {E1} and story.in_use == []
    story.agent.close()


@in_own_netns
def test_names_and_addresses_in_use() -> None:
    story = Story()
    story.engine.show(N1, "shop", "10.200.0.0/24", E1)
    story.engine.show("b", "bridge", "172.17.0.0/16", ipam="default")
    story.engine.show("o", "other", "10.44.0.0/24", ipam="other-plugin")
    story.engine.show("a", "aliased", "10.45.0.0/24", ipam="alias")
    story.pools.append(ip_network("10.45.0.0/24"))
    story.reconciler.sweep(now=0.0)
    assert story.agent.realm.networks()[N1].name == "shop"
    assert set(story.in_use[-1]) == set(story.pools), "a pool of ours is known whatever its driver is called"
    addresses = story.in_use[-1][ip_network("10.200.0.0/24")]
    assert set(addresses) == {ip_address("10.200.0.1"), ip_address("10.200.0.2")}
    story.agent.close()


@in_own_netns
def test_labels_come_when_the_engine_does() -> None:
    story = Story()
    facts = story.agent.containers.facts.pop(E1)
    story.agent.start()
    story.engine.up = False
    story.reconciler.start()
    story.reconciler.changed("container", "start", "c1")
    assert story.engine.asked == [] and len(story.agent.networks.waiting()) == 1
    story.engine.up, story.engine.facts[E1] = True, facts
    story.reconciler.engine_up()
    assert story.agent.known().state is EndpointState.READY
    until(lambda: story.in_use)
    story.reconciler.close()
    story.agent.close()


@in_own_netns
def test_labels_that_cannot_be_had_are_asked_for_ever_less() -> None:
    story = Story()
    story.agent.containers.facts.clear()
    story.agent.start()
    for _ in range(10):
        story.reconciler.changed("network", "connect", N1)
    assert story.engine.asked == [E1]
    story.agent.close()


@in_own_netns
def test_a_renamed_container() -> None:
    story = Story()
    story.agent.start()
    story.engine.facts[E1] = ContainerFacts("c1", "new-name", {"app": "web"})
    story.reconciler.changed("container", "rename", "c1")
    assert story.agent.known().container_name == "new-name"
    story.agent.close()


@in_own_netns
def test_who_has_no_identity_for_want_of_the_store_starts_and_has_it_soon_after() -> None:
    story = Story()
    agent, web = story.agent, ContainerFacts("c1", "web", {"app": "web"})
    agent.realm.is_storeless = True
    agent.start()
    assert agent.known().state is EndpointState.WAITING_FOR_LABELS
    assert agent.known().identity == Reserved.INIT and agent.known().ifindex
    story.engine.facts[E1] = web
    for _ in range(3):
        story.reconciler._resolve_waiting()
    assert agent.known().state is EndpointState.WAITING_FOR_LABELS
    agent.realm.is_storeless = False
    story.reconciler._resolve_waiting()
    assert agent.known().state is EndpointState.READY, "it was not put off"
    agent.realm.is_storeless = True
    with pytest.raises(Unavailable):
        agent.networks.set_labels(E1, Labels.parse(["app=other"]))
    assert agent.known().state is EndpointState.READY, "who has a name keeps it"
    with pytest.raises(Unavailable):
        agent.networks.identify_again(E1)
    assert agent.known().identity == Reserved.INIT, "until it is another's"
    agent.close()
