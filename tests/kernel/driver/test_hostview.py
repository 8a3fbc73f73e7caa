"""What the host's links mean is known at start, and again after each change that matters."""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import ip_network

from driver.hostfacts import HostFacts
from driver.hostview import HostView
from driver.links import Links
from driver.plan import GATEWAY_DEVICE, ROUTE_PROTOCOL
from tests.kernel.driver.topology import HOST4, WORLD4, Container, World, run
from tests.kernel.netns import in_own_netns


class Watch:
    def __init__(self, *devices: str) -> None:
        self.told: list[HostFacts] = []
        self.view = HostView(devices, self.told.append)
        self.view.start()

    def until(self, condition: Callable[[HostFacts], bool]) -> HostFacts:
        deadline = time.monotonic() + 5
        while not condition(self.view.facts):
            assert time.monotonic() < deadline, self.view.facts
            time.sleep(0.01)
        return self.view.facts


@in_own_netns
def test_the_facts_are_there_at_start() -> None:
    World()
    watch = Watch()
    assert list(watch.view.facts.uplinks.values()) == ["eth0"]
    assert ip_network(HOST4) in watch.view.facts.addresses
    assert watch.told == [watch.view.facts]
    watch.view.close()


@in_own_netns
def test_another_engines_bridge_comes_and_goes() -> None:
    World()
    watch = Watch()
    run("ip", "link", "add", "br-1", "type", "bridge")
    run("ip", "address", "add", "172.30.0.1/16", "dev", "br-1")
    run("ip", "link", "set", "br-1", "up")
    facts = watch.until(lambda facts: ip_network("172.30.0.0/16") in facts.unmanaged)
    assert facts.bridges == {"br-1"} and ip_network("172.30.0.1") in facts.addresses
    run("ip", "link", "set", "br-1", "down")
    watch.until(lambda facts: not facts.unmanaged)
    run("ip", "link", "set", "br-1", "up")
    watch.until(lambda facts: bool(facts.unmanaged))
    run("ip", "link", "del", "br-1")
    facts = watch.until(lambda facts: not facts.bridges)
    assert not facts.unmanaged and ip_network("172.30.0.1") not in facts.addresses
    watch.view.close()


@in_own_netns
def test_all_that_ends_at_the_host_is_its_own_while_it_does() -> None:
    World()
    watch = Watch()
    assert ip_network("192.0.2.255") in watch.view.facts.addresses, (
        "broadcast reaches every service of the host"
    )
    run("ip", "address", "add", "198.51.100.9/30", "brd", "198.51.100.8", "dev", "eth0")
    run("ip", "route", "add", "local", "203.0.113.0/24", "dev", "lo")
    more = {ip_network(text) for text in ("198.51.100.8", "198.51.100.9", "203.0.113.0/24")}
    watch.until(lambda facts: facts.addresses >= more)
    run("ip", "address", "del", "198.51.100.9/30", "dev", "eth0")
    run("ip", "route", "del", "local", "203.0.113.0/24", "dev", "lo")
    watch.until(lambda facts: not facts.addresses & more)
    watch.view.close()


@in_own_netns
def test_routes_to_other_nodes_containers_are_no_networks_of_the_host() -> None:
    World()
    watch = Watch()
    run("ip", "route", "add", "10.200.9.0/24", "via", WORLD4, "proto", str(ROUTE_PROTOCOL))
    run("ip", "route", "add", "10.201.0.0/24", "via", WORLD4)
    facts = watch.until(lambda facts: ip_network("10.201.0.0/24") in facts.routed)
    assert ip_network("10.200.9.0/24") not in facts.routed
    watch.view.close()


@in_own_netns
def test_other_machines_see_the_address_that_the_host_sends_from_first() -> None:
    """Not one that a daemon moves from host to host."""
    World()
    watch = Watch()
    first = ip_network(HOST4).network_address
    for last in range(100, 108):
        run("ip", "address", "add", f"192.0.2.{last}/32", "dev", "eth0")
    facts = watch.until(lambda facts: len(facts.outer) >= 9)
    assert facts.outer[0] == first
    watch.view.close()
    again = Watch()
    assert again.view.facts.outer[0] == first
    again.view.close()


@in_own_netns
def test_an_uplink_that_moves() -> None:
    World()
    watch = Watch()
    run("ip", "link", "set", "eth0", "mtu", "1400")
    watch.until(lambda facts: facts.mtu == 1400)
    for family in ("-4", "-6"):
        run("ip", family, "route", "del", "default")
    watch.until(lambda facts: not facts.uplinks)
    run("ip", "route", "add", "default", "via", "192.0.2.1")
    watch.until(lambda facts: bool(facts.uplinks))
    watch.view.close()


@in_own_netns
def test_networks_that_the_host_reaches_over_a_tunnel_and_a_vpn() -> None:
    World()
    watch = Watch()
    run(
        "ip",
        "link",
        "add",
        "tunnel0",
        "mtu",
        "1500",
        "type",
        "vxlan",
        "id",
        "7",
        "dev",
        "eth0",
        "dstport",
        "4789",
    )
    run("ip", "address", "add", "198.51.100.1/24", "dev", "tunnel0")
    run("ip", "link", "set", "tunnel0", "up")
    for name, mode in (("vpn0", "tun"), ("vm0", "tap")):
        run("ip", "tuntap", "add", "dev", name, "mode", mode)
        run("ip", "link", "set", name, "mtu", "1280", "up")
    run("ip", "route", "add", "10.8.0.0/16", "dev", "vpn0")
    run("ip", "address", "add", "10.9.0.1/24", "dev", "vm0")
    facts = watch.until(lambda facts: ip_network("10.9.0.0/24") in facts.unmanaged)
    assert sorted(facts.uplinks.values()) == ["eth0", "tunnel0", "vpn0"]
    assert {str(prefix): name for prefix, name in facts.routed.items() if prefix.version == 4} == {
        "192.0.2.0/24": "eth0",
        "198.51.100.0/24": "tunnel0",
        "10.8.0.0/16": "vpn0",
    }
    assert facts.mtu == 1500
    run("ip", "route", "del", "10.8.0.0/16", "dev", "vpn0")
    run("ip", "address", "flush", "dev", "vpn0")  # its link-local one
    watch.until(lambda facts: "vpn0" not in facts.uplinks.values())
    watch.view.close()


@in_own_netns
def test_our_own_links_are_no_news() -> None:
    World()
    links = Links()
    Container(links, 2)
    watch = Watch()
    assert watch.view.facts.bridges == frozenset(), "the gateways' device is no engine's bridge"
    assert ip_network("10.200.0.1") in watch.view.facts.addresses
    told = len(watch.told)
    for number in range(3, 8):
        links.delete(Container(links, number).plan.host_name)
    time.sleep(0.3)
    assert len(watch.told) == told
    run("ip", "link", "del", GATEWAY_DEVICE)
    watch.until(lambda facts: ip_network("10.200.0.1") not in facts.addresses)
    watch.view.close()


@in_own_netns
def test_a_listener_that_fails_does_not_end_the_watch() -> None:
    calls: list[HostFacts] = []

    def listen(facts: HostFacts) -> None:
        calls.append(facts)
        raise RuntimeError("listener")

    view = HostView((), listen)
    view.start()
    run("ip", "link", "add", "br-1", "type", "bridge")
    deadline = time.monotonic() + 5
    while len(calls) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    view.close()
