from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from driver.accept import FirewallFacts
from driver.bypass import SHOWN_NAMES, bypasses, unserved_ports
from model.endpoint import Endpoint
from model.network import Network, Subnet

NETWORKS = {
    "ours": {"Driver": "ciliate", "Name": "shop", "IPAM": {"Driver": "ciliate"}},
    "bridge": {"Driver": "bridge"},
    "none": {"Driver": "null"},
}


def container(name: str, *networks: str, mode: str = "default") -> dict[str, Any]:
    return {
        "Id": f"id of {name}",
        "Names": [f"/{name}"],
        "HostConfig": {"NetworkMode": mode},
        "NetworkSettings": {"Networks": {f"net-{n}": {"NetworkID": n} for n in networks}},
    }


def texts(
    *containers: dict[str, Any],
    servers: tuple[str, ...] = (),
    own: tuple[str, ...] = (),
    firewall: FirewallFacts | None = None,
) -> list[str]:
    found = bypasses(containers, NETWORKS, {"ours"}, servers, own, firewall or FirewallFacts())
    return [each.text for each in found]


def test_a_container_on_ciliate_alone_is_no_bypass() -> None:
    assert texts(container("web", "ours"), container("other", "bridge"), container("alone", "none")) == []


def test_a_second_interface() -> None:
    (text,) = texts(container("web", "ours", "bridge"))
    assert "web" in text and "net-bridge" in text


@pytest.mark.parametrize(
    ("driver", "ipam", "warned"),
    [
        ("ciliate", "default", True),
        ("ciliate", "ciliate", False),
        ("ciliate:latest", "ciliate:latest", False),
        ("net", "net", False),
    ],
)
def test_a_network_that_has_its_addresses_from_somebody_else(driver: str, ipam: str, warned: bool) -> None:
    networks = {"ours": {"Driver": driver, "Name": "shop", "IPAM": {"Driver": ipam}}}
    found = bypasses([], networks, {"ours", "not listed yet"}, (), (), FirewallFacts())
    assert [(each.kind, "shop" in each.text, ipam in each.text) for each in found] == (
        [("IPAM", True, True)] if warned else []
    )


def test_ports_of_a_container_whose_networks_are_all_internal() -> None:
    subnet = Subnet(ip_network("10.0.0.0/24"), None)
    networks = {
        name: Network(name, name, number, (subnet,), internal=name == "closed")
        for number, name in enumerate(("closed", "open"), 2)
    }

    def endpoint(
        number: int, container: str, network: str, *, wants: bool = True, linked: int = 7
    ) -> Endpoint:
        return Endpoint(
            number,
            f"e{number}",
            network,
            "02:42:00:00:00:01",
            container_id=container,
            container_name=container,
            ifindex=linked,
            wants_ports=wants,
        )

    endpoints = [
        endpoint(1, "alone", "closed"),
        endpoint(2, "both", "closed"),
        endpoint(3, "both", "open"),
        endpoint(4, "quiet", "closed", wants=False),
        endpoint(5, "ended", "closed", linked=0),
        endpoint(6, "", "closed"),
        endpoint(7, "lost", "gone"),
    ]
    found = list(unserved_ports(endpoints, networks))
    assert [each.text.split()[3] for each in found] == ["alone", "e6"]


def test_the_hosts_network() -> None:
    (text,) = texts(container("agent", mode="host"))
    assert "agent" in text and "identity host" in text


def test_the_hosts_own_resolver() -> None:
    web, db, other = container("web", "ours"), container("db", "ours"), container("other", "bridge")
    (text,) = texts(web, db, other, servers=("127.0.0.53",), own=("id of db",))
    assert "(127.0.0.53) in the place of web, so" in text
    assert texts(other, db, servers=("127.0.0.53",), own=("id of db",)) == []
    assert texts(web) == []
    many = [container(f"c{number}", "ours") for number in range(SHOWN_NAMES + 2)]
    (text,) = texts(*many, servers=("127.0.0.1",))
    assert "c0, c1, c2, c3, c4 and 2 more, so" in text


def test_other_firewalls() -> None:
    assert len(texts(firewall=FirewallFacts(("-A DOCKER-USER -j DROP",), ufw=True, firewalld=True))) == 3
