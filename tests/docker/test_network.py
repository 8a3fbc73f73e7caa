"""Networks, addresses, names: what users of Docker's own drivers expect, on every engine."""

from __future__ import annotations

import ipaddress
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.docker.harness.host import Host


def subnets(host: Host, network: str) -> list[Any]:
    return list(json.loads(host.docker("network", "inspect", network).out)[0]["IPAM"]["Config"])


def links(host: Host, container: str) -> list[str]:
    """The names of a container's interfaces."""
    shown = host.docker("exec", container, "/bin/busybox", "ip", "-o", "link").lines
    return sorted(line.split(":")[1].strip().split("@")[0] for line in shown)


def test_two_containers_of_a_network_reach_each_other_by_address_and_name(any_host: Host) -> None:
    host = any_host
    host.network("n")
    host.serve("web", "--network", "n", "--network-alias", "shop")
    host.caller("client", "--network", "n")

    client, web = host.address("client", "n"), host.address("web", "n")
    assert host.ask("client", "tcp", web, 80) == f"web {client}"
    assert host.ask("client", "tcp", "web", 80) == f"web {client}", "Docker's DNS knows the name"
    assert host.ask("client", "udp", "shop", 80) == f"web {client}", "and the alias"
    assert host.pings("client", "web") and host.pings("web", "client")
    assert links(host, "client") == ["eth0", "lo"], "no second way out beside ciliate's"


def test_without_a_subnet_each_network_gets_a_slice_of_the_pool(any_host: Host) -> None:
    host = any_host
    host.network("one")
    host.network("two")
    first, second = (ipaddress.ip_network(subnets(host, name)[0]["Subnet"]) for name in ("one", "two"))
    pool = ipaddress.ip_network("10.200.0.0/16")
    assert first.subnet_of(pool) and second.subnet_of(pool) and not first.overlaps(second)  # type: ignore[arg-type]


def test_a_network_with_another_ipam_driver_is_told_of(any_host: Host) -> None:
    host = any_host
    host.docker("network", "create", "-d", "ciliate", "--subnet", "10.63.0.0/24", "foreign")
    host.network("ours")
    host.serve("web", "--network", "foreign")
    host.caller("client", "--network", "foreign")
    assert host.ask("client", "tcp", "web", 80)

    def told() -> list[str]:
        shown = host.ciliate("status", check=False).out
        return [line.split()[2] for line in shown.splitlines() if line.startswith("IPAM ")]

    host.until(lambda: told() == ["foreign"], "status tells, once it looks at the engine anew")


def test_both_families(any_host: Host) -> None:
    host = any_host
    host.network("n", "--ipv6", "--subnet", "10.61.0.0/24", "--subnet", "fd61::/64")
    host.serve("web", "--network", "n")
    host.caller("client", "--network", "n")
    for version in (4, 6):
        client, web = (host.address(name, "n", version=version) for name in ("client", "web"))
        assert host.ask("client", "tcp", web, 80) == f"web {client}"
        assert host.ask("client", "udp", web, 80) == f"web {client}"
        assert host.pings("client", web)


def test_an_ipv6_network_without_a_subnet_gets_one_of_each_family(any_host: Host) -> None:
    host = any_host
    host.network("n", "--ipv6")
    versions = sorted(ipaddress.ip_network(subnet["Subnet"]).version for subnet in subnets(host, "n"))
    assert versions == [4, 6]
    host.serve("web", "--network", "n")
    host.caller("client", "--network", "n")
    assert host.ask("client", "tcp", host.address("web", "n", version=6), 80)


def test_chosen_subnet_range_gateway_and_addresses(any_host: Host) -> None:
    host = any_host
    family4 = ("--subnet", "10.62.0.0/16", "--ip-range", "10.62.9.0/24", "--gateway", "10.62.0.77")
    host.network("n", *family4, "--ipv6", "--subnet", "fd62::/64", "--gateway", "fd62::77")
    host.start("chosen", "--network", "n", "--ip", "10.62.200.5", "--ip6", "fd62::5")
    host.start("given", "--network", "n")

    assert host.address("chosen", "n") == "10.62.200.5"
    assert host.address("chosen", "n", version=6) == "fd62::5"
    assert ipaddress.ip_address(host.address("given", "n")) in ipaddress.ip_network("10.62.9.0/24")
    route = host.docker("exec", "chosen", "ip", "route").out
    assert "default via 10.62.0.77" in route
    assert host.pings("chosen", host.address("given", "n"))
    assert host.pings("chosen", host.address("given", "n", version=6))


def test_a_chosen_mac_address_is_kept(any_host: Host) -> None:
    host = any_host
    host.network("n")
    host.start("box", "--network", "n", "--mac-address", "02:42:0a:00:00:07")
    assert "02:42:0a:00:00:07" in host.docker("exec", "box", "ip", "link", "show", "eth0").out


def test_an_internal_network_has_no_way_out(any_host: Host) -> None:
    host = any_host
    host.network("open")
    host.network("closed", "--internal")
    host.caller("outgoing", "--network", "open")
    host.caller("inside", "--network", "closed")
    host.serve("neighbour", "--network", "closed")
    with host.world.serving(7):
        assert host.ask("outgoing", "tcp", "198.51.100.1", 7)
        assert not host.ask("inside", "tcp", "198.51.100.1", 7, seconds=0.5)
    assert host.ask("inside", "tcp", "neighbour", 80)


def test_no_network_brings_the_engines_own_way_out(any_host: Host) -> None:
    """It may add a bridge, docker_gwbridge, for containers whose driver gives no gateway."""
    host = any_host
    host.network("closed", "--internal", "--ipv6")
    networks = ["closed"]
    if host.version not in ("20.10", "26.1"):  # older engines give every network IPv4
        host.network("six", "--ipv6", "--ipv4=false")
        networks.append("six")
    for name in networks:
        host.start(f"in-{name}", "--network", name)
        assert links(host, f"in-{name}") == ["eth0", "lo"]
        host.docker("network", "connect", networks[-1], f"in-{name}", check=False)
    assert "docker_gwbridge" not in host.run("ip", "-br", "link").out + host.docker("network", "ls").out
    if "six" in networks:
        assert host.address("in-six", "six") == ""
        assert host.pings("in-closed", host.address("in-six", "six", version=6))


def test_a_container_in_several_networks_uses_each(any_host: Host) -> None:
    host = any_host
    for name in ("left", "right"):
        host.network(name)
        host.serve(f"web-{name}", "--network", name)
    host.caller("middle", "--network", "left")
    host.docker("network", "connect", "--alias", "both", "right", "middle")

    assert links(host, "middle") == ["eth0", "eth1", "lo"]
    for name in ("left", "right"):
        assert host.ask("middle", "tcp", f"web-{name}", 80) == f"web-{name} {host.address('middle', name)}"
    assert host.pings("web-right", "both")


def test_connect_and_disconnect_while_running(any_host: Host) -> None:
    host = any_host
    host.network("n")
    host.serve("web", "--network", "n")
    host.start("client", "--network", "none")
    host.docker("network", "disconnect", "none", "client")
    host.docker("network", "connect", "n", "client")
    assert host.pings("client", "web")
    host.docker("network", "disconnect", "n", "client")
    assert links(host, "client") == ["lo"]
    host.docker("network", "connect", "n", "client")
    assert host.pings("client", "web")


def test_connect_while_stopped_and_start_again(any_host: Host) -> None:
    host = any_host
    host.network("n")
    host.network("late")
    host.start("web", "--network", "n")
    host.start("client", "--network", "n")
    host.docker("stop", "client")
    host.docker("network", "connect", "late", "client")
    host.docker("network", "connect", "late", "web")
    host.docker("start", "client")
    assert host.pings("client", host.address("web", "n"))
    assert host.pings("client", host.address("web", "late"))
    host.docker("stop", "client")
    host.docker("network", "disconnect", "late", "client")
    host.docker("start", "client")
    assert links(host, "client") == ["eth0", "lo"]


def test_stop_start_and_restart_keep_a_container_reachable(any_host: Host) -> None:
    host = any_host
    host.network("n")
    host.start("client", "--network", "n")
    host.serve("web", "--network", "n")
    for action in (("restart",), ("stop",), ("start",), ("pause",), ("unpause",)):
        host.docker(*action, "web")
    assert host.pings("client", "web")
    assert set(host.endpoints()) == {"client", "web"}


def test_twenty_at_once(any_host: Host) -> None:
    """All start, all have addresses of their own, all reach the first, and all are gone afterwards."""
    host = any_host
    host.network("n", "--ipv6")
    host.start("first", "--network", "n")
    names = [f"c{number}" for number in range(20)]
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda name: host.start(name, "--network", "n"), names))
    known = host.endpoints()
    assert set(known) == {"first", *names}
    assert len({endpoint["ipv4"] for endpoint in known.values()}) == 21
    assert len({endpoint["ipv6"] for endpoint in known.values()}) == 21
    assert all(endpoint["state"] == "ready" for endpoint in known.values())
    first = host.address("first", "n")
    assert all(host.pings(name, first) for name in names)
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(host.remove, names))
    assert set(host.endpoints()) == {"first"}


def test_options_of_bridge_networks_that_compose_files_bring(any_host: Host) -> None:
    host = any_host
    host.network("n", "-o", "com.docker.network.driver.mtu=1400")
    host.start("box", "--network", "n")
    assert "mtu 1400" in host.docker("exec", "box", "ip", "link", "show", "eth0").out


def test_a_container_reaches_the_world_as_the_host(any_host: Host) -> None:
    host = any_host
    host.network("n", "--ipv6")
    host.caller("client", "--network", "n")
    with host.world.serving(7):
        for protocol in ("tcp", "udp"):
            assert host.ask("client", protocol, "198.51.100.1", 7).endswith(" 192.0.2.2")
            assert host.ask("client", protocol, "2001:db8:f::1", 7).endswith(" 2001:db8::2")
