"""Links as the kernel has them afterwards."""

from __future__ import annotations

import json
import time
from ipaddress import ip_address

import pytest

from driver.links import Links
from driver.plan import DEVICE_GROUP, GATEWAY_DEVICE, GATEWAY_MAC
from model.errors import Unavailable
from tests.kernel.driver.topology import Container, run
from tests.kernel.netns import in_own_netns


def link(name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(run("ip", "-j", "-d", "link", "show", name))[0]
    return found


def names() -> set[str]:
    return {found["ifname"] for found in json.loads(run("ip", "-j", "link"))}


@in_own_netns
def test_a_link_as_planned() -> None:
    links = Links()
    container = Container(links, 2)
    host = link(container.plan.host_name)
    assert host["ifindex"] == container.ifindex
    assert host["address"] == GATEWAY_MAC and host["mtu"] == 1500
    assert host["group"] == str(DEVICE_GROUP) and host["inet6_addr_gen_mode"] == "none"
    assert (
        json.loads(container.run("ip", "-j", "link", "show", "eth0"))[0]["address"]
        == container.plan.container_mac
    )
    assert (
        run("ip", "route", "show", "10.200.0.2")
        .strip()
        .endswith(f"dev {container.plan.host_name} proto static scope link src 10.200.0.1")
    )
    assert f"dev {container.plan.host_name}" in run("ip", "-6", "route", "show", "fd00:c111::2")
    neighbours = run("ip", "neigh", "show", "dev", container.plan.host_name)
    assert neighbours.count("PERMANENT") == 2 and container.plan.container_mac in neighbours
    assert run("sysctl", "-n", f"net.ipv4.conf.{container.plan.host_name}.rp_filter").strip() == "0"


@in_own_netns
def test_the_host_side_says_nothing_of_its_own() -> None:
    container = Container(Links(), 2)
    time.sleep(0.1)
    assert run("ip", "-o", "address", "show", "dev", container.plan.host_name) == ""


@in_own_netns
def test_everything_goes_with_the_link() -> None:
    links = Links()
    container = Container(links, 2)
    links.delete(container.plan.host_name)
    links.delete(container.plan.host_name)
    assert names() == {"lo", GATEWAY_DEVICE}
    assert run("ip", "route").strip() == "" and run("ip", "neigh").strip() == ""


@in_own_netns
def test_what_an_earlier_attempt_left_is_replaced() -> None:
    links = Links()
    container = Container(links, 2)
    again = links.create(container.plan)
    assert again != container.ifindex
    links.open(container.plan, again)
    links.open(container.plan, again)
    assert f"dev {container.plan.host_name}" in run("ip", "route", "show", "10.200.0.2")


@in_own_netns
def test_a_spare_becomes_a_containers_link() -> None:
    links = Links()
    plan = Container(links, 2).plan
    links.delete(plan.host_name)
    other = Container(links, 3).plan
    links.delete(other.host_name)
    ifindex = links.create(plan)
    assert links.adopt(plan, other) == ifindex
    assert link(other.host_name)["ifindex"] == ifindex
    assert link(other.container_name)["address"] == other.container_mac
    with pytest.raises(Unavailable):
        links.adopt(plan, other)


@in_own_netns
def test_gateways_live_on_a_device_of_their_own() -> None:
    links = Links()
    four, six = ip_address("10.200.0.1"), ip_address("fd00:c111::1")

    def present() -> set[str]:
        found = json.loads(run("ip", "-j", "address", "show", "dev", GATEWAY_DEVICE))[0]["addr_info"]
        return {f"{entry['local']}/{entry['prefixlen']}" for entry in found}

    links.set_gateways({four, six})
    assert present() == {"10.200.0.1/32", "fd00:c111::1/128"}
    links.set_gateways({six})
    assert present() == {"fd00:c111::1/128"}
    links.set_gateways({six})
    links.set_gateways(set())
    assert names() == {"lo"}


@in_own_netns
def test_our_links_are_told_from_others() -> None:
    links = Links()
    container = Container(links, 2)
    run("ip", "link", "add", "clat", "type", "veth")
    assert links.present() == {container.plan.host_name: container.ifindex}


@in_own_netns
def test_a_container_starts_fast() -> None:
    links = Links()
    spent = []
    for number in range(2, 12):
        container = Container(links, number)
        links.delete(container.plan.host_name)
        begin = time.perf_counter()
        links.open(container.plan, links.create(container.plan))
        spent.append(time.perf_counter() - begin)
    assert min(spent) < 0.006, "1 ms on an idle machine"
