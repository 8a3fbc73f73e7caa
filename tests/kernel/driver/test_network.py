"""Docker's calls, against real links and rules."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from driver.facts import ContainerFacts
from driver.guard import Guard
from driver.network import Defaults
from driver.plan import GATEWAY_DEVICE
from model.endpoint import EndpointState
from model.errors import NotFound, Unsupported
from model.identity import Reserved
from model.labels import Labels
from model.network import FLAT, Network
from tests.kernel.driver.agent import E1, E2, GENERIC, N1, N2, PORT, PORT_MAP, Agent, labels, names
from tests.kernel.driver.topology import run
from tests.kernel.netns import in_own_netns


@in_own_netns
def test_a_container_from_start_to_end() -> None:
    agent = Agent()
    assert agent.call("GetCapabilities")["Scope"] == "local"
    assert agent.create_network() == {}
    assert agent.create_endpoint() == {"Interface": {"MacAddress": "02:42:0a:c8:00:02"}}
    assert agent.known().state is EndpointState.CREATED
    joined = agent.endpoint("Join", SandboxKey="/var/run/docker/netns/x", Options={PORT_MAP: []})
    assert joined == {
        "InterfaceName": {"SrcName": "ctra1a1a1a1a1", "DstPrefix": "eth"},
        "Gateway": "10.200.0.1",
        "GatewayIPv6": "",
        "DisableGatewayService": True,
    }
    web = agent.known()
    assert web.state is EndpointState.READY and web.container_name == "web"
    assert labels(web) == {"container:app=web", f"network:id={N1}"}
    assert web.identity == agent.realm.identify(web.labels)
    assert web.ifindex in agent.attached and web.ifname in names()
    assert agent.endpoint("EndpointOperInfo") == {"Value": {}}
    for _ in range(2):
        assert agent.endpoint("Leave") == {}
    assert agent.known().state is EndpointState.CREATED and agent.known().ifindex == 0
    for _ in range(2):
        assert agent.endpoint("DeleteEndpoint") == {}
    for _ in range(2):
        assert agent.call("DeleteNetwork", NetworkID=N1) == {}
    assert names() == {"lo"} and run("nft", "list", "ruleset") == ""
    agent.close()


@in_own_netns
def test_both_families_and_a_mac_that_docker_has_chosen() -> None:
    agent = Agent()
    agent.create_network(IPv6Data=[{"Pool": "fd00:c111::/64", "Gateway": "fd00:c111::1/64"}])
    chosen = {"AddressIPv6": "fd00:c111::2/64", "MacAddress": "02:42:AC:11:00:09"}
    assert agent.create_endpoint(Interface=chosen) == {"Interface": {}}, "an answer would be refused"
    assert agent.endpoint("Join")["GatewayIPv6"] == "fd00:c111::1"
    assert agent.known().mac == "02:42:ac:11:00:09"
    assert "02:42:ac:11:00:09" in run("ip", "link", "show", "ctra1a1a1a1a1")
    agent.close()


@in_own_netns
def test_an_internal_network_has_no_way_out() -> None:
    agent = Agent()
    agent.create_network(Options={"com.docker.network.internal": True, GENERIC: {}})
    assert agent.realm.networks()[N1].internal
    agent.create_endpoint()
    joined = agent.endpoint("Join")
    assert joined["Gateway"] == "" and joined["InterfaceName"]["SrcName"]
    agent.close()


@in_own_netns
def test_what_a_network_can_be_asked() -> None:
    agent = Agent(defaults=Defaults(flat=True))
    agent.create_network(
        Options={
            GENERIC: {
                "ciliate.network": "payments",
                "ciliate.enforcement": "always",
                "ciliate.host": "false",
                "ciliate.world": "false",
                "ciliate.labels": "tier=backend",
                "com.docker.network.driver.mtu": "1400",
                "com.docker.network.bridge.enable_icc": "false",
                "com.docker.network.bridge.host_binding_ipv4": "127.0.0.1",
            }
        }
    )
    agent.create_network(N2, "10.201.0.0/24")
    own, flat = agent.realm.networks()[N1], agent.realm.networks()[N2]
    assert own.id == "payments" and not own.flat and own.number > FLAT
    assert own.enforcement_always and not (own.host or own.world or own.inter_container)
    assert str(own.publish_ip) == "127.0.0.1"
    assert flat.flat and flat.number == FLAT and flat.id == "flat"
    agent.start()
    assert labels(agent.known()) == {"container:app=web", "opt:tier=backend", "network:id=payments"}
    assert json.loads(run("ip", "-j", "link", "show", agent.known().ifname))[0]["mtu"] == 1400
    agent.close()


@in_own_netns
def test_networks_with_one_id_are_one() -> None:
    agent = Agent()
    spanning = {GENERIC: {"ciliate.network": "shared"}}
    agent.create_network(Options=spanning)
    agent.create_network(N2, "10.201.0.0/24", Options=spanning)
    first, second = agent.realm.networks().values()
    assert first.number == second.number
    agent.close()


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"IPv4Data": [], "IPv6Data": []}, "no subnet"),
        ({"IPv4Data": [{"Pool": "0.0.0.0/0", "Gateway": ""}]}, "0.0.0.0/0"),
        ({"IPv4Data": [{"Pool": "10.200.9.0/24", "Gateway": ""}]}, "gateway"),
        ({"IPv4Data": [{"Pool": "10.200.0.0/16", "Gateway": "10.200.0.1/16"}]}, "overlaps 10.200.0.0/24"),
        ({"Options": {GENERIC: {"ciliate.flot": "1"}}}, "did you mean ciliate.flat"),
        ({"Options": {GENERIC: {"ciliate.egress": "x"}}}, "not available yet"),
        (
            {
                "IPv6Data": [{"Pool": "fd00::/64", "Gateway": "fd00::1/64"}],
                "Options": {GENERIC: {"ciliate.mtu": "1000"}},
            },
            "1280",
        ),
    ],
)
def test_a_network_that_cannot_be(members: dict[str, Any], says: str) -> None:
    @in_own_netns
    def story() -> None:
        agent = Agent()
        agent.create_network()
        answer = agent.create_network(N2, "10.201.0.0/24", **members)
        assert says in answer["Err"] == answer["Error"]
        assert agent.realm.networks().keys() == {N1}
        agent.close()

    story()


@in_own_netns
def test_a_swarm_is_told_what_to_do() -> None:
    agent = Agent()
    for method in ("AllocateNetwork", "FreeNetwork"):
        assert "swarm" in agent.call(method, NetworkID=N1)["Err"]
    assert agent.call("DiscoverNew", DiscoveryType=1, DiscoveryData={"Address": "192.0.2.3"}) == {}
    assert agent.call("GwAllocCheck", Options={}) == {"SkipIPv4": False, "SkipIPv6": False}
    agent.close()


@in_own_netns
def test_bytes_that_are_no_request() -> None:
    agent = Agent()
    for body in (b"{", b"[]", b'{"NetworkID": 5}', b"x" * (2 << 20), b"\xff\xfe"):
        answer = agent.client.post("/NetworkDriver.CreateNetwork", data=body)
        assert answer.status_code == 500
        assert json.loads(answer.data).keys() == {"Err", "Error"}
    agent.close()


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"address": "10.99.0.2/24"}, "not in a subnet"),
        ({"address": ""}, "no address"),
        ({"Interface": {"MacAddress": "01:00:5e:00:00:01"}}, "group address"),
        ({"Options": {"ciliate.lables": "x"}}, "did you mean ciliate.labels"),
        ({"Options": {"ciliate.bandwidth.egress": "10M"}}, "not available yet"),
        ({"Options": {PORT_MAP: [{**PORT, "Proto": 47}]}}, "protocol 47"),
    ],
)
def test_an_endpoint_that_cannot_be(members: dict[str, Any], says: str) -> None:
    @in_own_netns
    def story() -> None:
        agent = Agent()
        agent.create_network()
        assert says in agent.create_endpoint(**members)["Err"]
        assert agent.realm.endpoints() == {}
        agent.close()

    story()


@in_own_netns
def test_strangers() -> None:
    agent = Agent()
    assert "no record of network" in agent.create_endpoint()["Err"]
    agent.create_network()
    for method in ("Join", "EndpointOperInfo"):
        assert "no record of endpoint" in agent.endpoint(method)["Err"]
    for method in ("Leave", "DeleteEndpoint", "RevokeExternalConnectivity"):
        assert agent.endpoint(method) == {}
    agent.close()


@in_own_netns
def test_labels_of_the_endpoint_come_with_it() -> None:
    agent = Agent()
    agent.create_network()
    agent.create_endpoint(Options={"ciliate.labels": "app=canary", "ciliate.tag": "blue"})
    agent.endpoint("Join")
    assert labels(agent.known()) == {"opt:app=canary", f"network:id={N1}"}
    assert agent.known().tags == ("blue",)
    agent.close()


@in_own_netns
def test_a_container_that_is_not_known_waits_and_is_learnt() -> None:
    agent = Agent()
    agent.create_network()
    facts = agent.containers.facts.pop(E1)
    agent.start()
    assert agent.known().state is EndpointState.WAITING_FOR_LABELS
    assert [endpoint.docker_id for endpoint in agent.networks.waiting()] == [E1]
    agent.networks.learn(E1, facts)
    assert agent.known().state is EndpointState.READY and "container:app=web" in labels(agent.known())
    assert agent.networks.waiting() == []
    agent.endpoint("Leave")
    agent.networks.learn(E1, facts)
    assert agent.known().state is EndpointState.CREATED, "who has left is not brought back"
    agent.close()


@in_own_netns
def test_a_container_that_asks_for_a_fence_does_not_run_without_it() -> None:
    agent = Agent()
    agent.create_network()
    fence = {"ciliate.egress": "api.example.com:443"}
    agent.containers.facts[E1] = ContainerFacts("c1", "web", fence)
    agent.create_endpoint()
    assert "not available yet" in agent.endpoint("Join")["Err"]
    assert names() == {"lo", GATEWAY_DEVICE}
    facts = agent.containers.facts.pop(E1)
    agent.endpoint("Join")
    assert agent.networks.refused() == {}
    agent.networks.learn(E1, facts)
    assert agent.known().state is EndpointState.WAITING_FOR_LABELS, "it stays denied everything"
    assert agent.known().container_name == "web" and "label ciliate.egress" in str(
        agent.networks.refused()[E1]
    )
    agent.containers.facts[E1] = facts
    with pytest.raises(Unsupported):
        agent.networks.set_labels(E1, Labels.parse(["container:app=web"]))
    agent.endpoint("Leave")
    assert agent.networks.refused() == {}
    agent.close()


@in_own_netns
def test_who_has_no_room_for_its_labels_stays_denied_and_it_is_told() -> None:
    """It is tried again, and comes to its labels when there is room."""
    agent = Agent()
    agent.create_network()
    facts = agent.containers.facts.pop(E1)
    agent.start()
    agent.realm.room = False
    agent.networks.learn(E1, facts)
    assert agent.known().identity == Reserved.INIT
    assert "policies/inner is full" in str(agent.networks.refused()[E1])
    agent.realm.room = True
    agent.networks.learn(E1, facts)
    assert agent.known().state is EndpointState.READY
    assert agent.networks.refused() == {}
    agent.close()


@in_own_netns
def test_labels_set_by_the_user() -> None:
    agent = Agent()
    agent.create_network()
    agent.start()
    agent.networks.set_labels(E1, Labels.parse(["container:app=other"]))
    assert "container:app=other" in labels(agent.known())
    agent.networks.set_labels(E1, None)
    assert "container:app=web" in labels(agent.known())
    with pytest.raises(NotFound):
        agent.networks.set_labels(E2, None)
    agent.close()


@in_own_netns
def test_a_join_that_fails_leaves_nothing() -> None:
    agent = Agent()
    agent.create_network()
    agent.create_endpoint()
    agent.realm.failing = True
    assert agent.endpoint("Join")["Err"] == "the map is full"
    agent.networks.delete_network(N2)
    assert names() == {"lo", GATEWAY_DEVICE}
    assert agent.known().state is EndpointState.CREATED
    agent.realm.failing = False
    assert "Err" not in agent.endpoint("Join")
    agent.close()


@in_own_netns
def test_calls_that_dockerd_sends_again() -> None:
    agent = Agent()
    agent.create_network()
    assert agent.create_network() == {}
    assert agent.create_endpoint() == agent.create_endpoint()
    number = agent.known().id
    first = agent.endpoint("Join")
    assert agent.endpoint("Join") == first and agent.known().id == number
    assert len([name for name in names() if name.startswith("cl")]) == 1
    agent.close()


@in_own_netns
def test_published_ports_come_and_go_with_the_calls() -> None:
    agent = Agent()
    agent.create_network()
    agent.start()
    assert agent.endpoint("ProgramExternalConnectivity", Options={PORT_MAP: [PORT]}) == {}
    (port,) = agent.known().ports
    assert (port.protocol, str(port.host_ip), port.host_port, port.port) == ("tcp", "0.0.0.0", 8080, 80)
    assert agent.endpoint("ProgramExternalConnectivity", Options={PORT_MAP: [PORT]}) == {}
    agent.start(E2, "10.200.0.3/24")
    refused = agent.endpoint("ProgramExternalConnectivity", E2, Options={PORT_MAP: [PORT]})
    assert "8080" in refused["Err"] and "container web has it" in refused["Err"]
    assert agent.known(E2).ports == ()
    assert agent.endpoint("RevokeExternalConnectivity") == {}
    assert agent.known().ports == ()
    assert agent.endpoint("ProgramExternalConnectivity", E2, Options={PORT_MAP: [PORT]}) == {}
    agent.endpoint("Leave", E2)
    with socket.socket() as free:
        free.bind(("0.0.0.0", 8080))
    agent.close()


@in_own_netns
def test_an_address_that_docker_gives_away_again() -> None:
    """Docker has forgotten the first endpoint without a word."""
    agent = Agent()
    agent.create_network()
    agent.start()
    agent.start(E2, "10.200.0.2/24")
    assert agent.realm.endpoints().keys() == {E2}
    assert f"dev {agent.known(E2).ifname}" in run("ip", "route", "show", "10.200.0.2")
    agent.close()
    again = Agent(agent.realm)
    again.start(E1, "10.200.0.2/24")
    assert again.realm.endpoints().keys() == {E1}, "who has it is still known after a restart"
    again.endpoint("DeleteEndpoint")
    again.start(E2, "10.200.0.2/24")
    assert again.realm.endpoints().keys() == {E2}
    again.close()


@in_own_netns
def test_twenty_at_once() -> None:
    agent = Agent()
    agent.create_network()
    numbers = [f"{i:02x}" * 32 for i in range(2, 22)]
    agent.containers.facts |= {n: ContainerFacts(n, n, {"n": n}) for n in numbers}
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(agent.start, numbers, (f"10.200.0.{i}/24" for i in range(2, 22))))
    known = agent.realm.endpoints().values()
    assert len({endpoint.id for endpoint in known}) == len({endpoint.ifindex for endpoint in known}) == 20
    assert all(endpoint.state is EndpointState.READY for endpoint in known)
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda n: (agent.endpoint("Leave", n), agent.endpoint("DeleteEndpoint", n)), numbers))
    agent.call("DeleteNetwork", NetworkID=N1)
    assert names() == {"lo"} and agent.realm.endpoints() == {}
    agent.close()


@in_own_netns
def test_a_network_goes_with_the_endpoints_that_docker_forgot() -> None:
    agent = Agent()
    agent.create_network()
    agent.start()
    agent.call("DeleteNetwork", NetworkID=N1)
    assert agent.realm.endpoints() == {} and names() == {"lo"}
    agent.close()


@in_own_netns
def test_a_restart_goes_on_where_it_was() -> None:
    agent = Agent()
    agent.create_network()
    agent.start()
    agent.endpoint("ProgramExternalConnectivity", Options={PORT_MAP: [PORT]})
    before = agent.known()
    agent.close()
    run("nft", "flush", "ruleset")
    run("ip", "link", "del", GATEWAY_DEVICE)
    again = Agent(agent.realm)
    assert again.lost == []
    assert again.known() == before and before.ifindex in again.attached
    assert GATEWAY_DEVICE in names() and "8080" in run("nft", "list", "table", "inet", "ciliate")
    again.close()


@in_own_netns
def test_a_restart_after_the_links_have_gone() -> None:
    agent = Agent()
    agent.create_network()
    agent.start()
    agent.close()
    run("ip", "link", "del", agent.known().ifname)
    again = Agent(agent.realm)
    assert again.known().state is EndpointState.CREATED and again.known().ifindex == 0
    assert again.endpoint("Leave") == {} and again.endpoint("DeleteEndpoint") == {}
    again.close()


@in_own_netns
def test_links_without_an_endpoint_do_not_survive_a_restart() -> None:
    agent = Agent()
    agent.create_network()
    agent.start()
    agent.start(E2, "10.200.0.3/24")
    agent.close()
    agent.realm.remove_endpoint(E2)
    again = Agent(agent.realm)
    again.networks.delete_network(N2)
    kept: Iterable[str] = {again.known().ifname, "ctra1a1a1a1a1", "lo", GATEWAY_DEVICE}
    assert names() == set(kept)
    again.close()


@in_own_netns
def test_a_link_without_programs_gets_them_back_or_goes_down() -> None:
    agent = Agent()
    agent.create_network()
    agent.start()
    ifindex, ifname = agent.known().ifindex, agent.known().ifname
    fitted: set[int] = {ifindex}
    guard = Guard(agent.realm, agent.networks, fitted.__contains__)
    agent.attached.clear()
    guard.look()
    assert agent.attached == []
    fitted.clear()
    guard.look()
    assert agent.attached == [ifindex] and is_up(ifname)

    agent.attach_fails = True
    guard.look()
    assert not is_up(ifname)
    agent.attach_fails = False
    guard.look()
    assert is_up(ifname)
    assert f"dev {ifname}" in run("ip", "route", "show", "10.200.0.2"), "and it is reached again"
    agent.close()


@in_own_netns
def test_a_restart_that_cannot_attach_opens_nothing() -> None:
    agent = Agent()
    agent.create_network()
    agent.start()
    agent.close()
    again = Agent(agent.realm, attach_fails=True)
    assert any(again.known().ifname in sentence for sentence in again.lost)
    assert not is_up(again.known().ifname)
    again.close()


def is_up(name: str) -> bool:
    return "UP" in json.loads(run("ip", "-j", "link", "show", name))[0]["flags"]


@in_own_netns
def test_a_port_that_was_lost_meanwhile_is_told() -> None:
    agent = Agent()
    agent.create_network()
    agent.start()
    agent.endpoint("ProgramExternalConnectivity", Options={PORT_MAP: [PORT]})
    agent.close()
    with socket.create_server(("0.0.0.0", 8080)):
        again = Agent(agent.realm)
    assert len(again.lost) == 1 and "8080" in again.lost[0]
    again.close()


@in_own_netns
def test_a_network_learns_its_name() -> None:
    agent = Agent()
    agent.create_network()
    agent.networks.rename_network(N1, "shop")
    agent.networks.rename_network(N2, "nowhere")
    named: Network = agent.realm.networks()[N1]
    assert named == replace(named, name="shop")
    agent.close()
