"""Published ports and masquerade, by real packets through the host's stack."""

from __future__ import annotations

import socket
from dataclasses import replace
from ipaddress import IPv4Address, ip_address

import pytest

from driver.links import Links
from driver.nft import Nft, remove_table
from driver.options import PortBinding
from driver.ports import Ports
from driver.sysctls import Sysctls
from model.endpoint import PublishedPort
from model.errors import Conflict, Exhausted, InvalidInput, Unavailable, Unsupported
from tests.kernel.driver.topology import HOST4, HOST6, NETWORK, WORLD4, WORLD6, Container, World, ask, run
from tests.kernel.netns import in_own_netns

UDP = socket.SOCK_DGRAM


class Host:
    """The calling thread's namespace as a host with two containers and a world."""

    def __init__(self, *, masquerade: bool = True) -> None:
        run("ip", "link", "set", "lo", "up")
        self.links = Links()
        self.world = World()
        self.web = Container(self.links, 2)
        self.other = Container(self.links, 3)
        Sysctls(dict, lambda _path, _value: None).forward(ipv4=True, ipv6=True, uplinks=["eth0"])
        self.nft = Nft(masquerade=masquerade)
        self.nft.set_subnets(NETWORK.subnets)
        self.ports = Ports(self.nft)

    def publish(
        self, *bindings: PortBinding, container: Container | None = None
    ) -> tuple[PublishedPort, ...]:
        where = container or self.web
        published = self.ports.publish(where.endpoint, bindings)
        self.links.allow_loopback(where.plan.host_name, where.ifindex, ipv6=True)
        return published

    def serve(self, port: int = 80) -> None:
        for address in ("10.200.0.2", "fd00:c111::2"):
            self.web.serve(address, port)
            self.web.serve(address, port, UDP)


def tcp(port: int, host_port: int, end: int = 0, ip: str = "") -> PortBinding:
    return PortBinding("tcp", port, ip_address(ip) if ip else None, host_port, end or host_port)


@in_own_netns
def test_a_port_is_reached_from_everywhere() -> None:
    host = Host()
    host.serve()
    host.publish(tcp(80, 8080), replace(tcp(80, 8080), protocol="udp"))
    for kind in (socket.SOCK_STREAM, UDP):
        assert ask(host.world, HOST4, 8080, kind) == WORLD4, "the caller's own address is seen"
        assert ask(host.world, HOST6, 8080, kind) == WORLD6
        assert ask(host.other, HOST4, 8080, kind) == "10.200.0.3"
        assert ask(host.other, "10.200.0.1", 8080, kind) == "10.200.0.3", "by the gateway's address as well"
        assert ask(host.other, HOST6, 8080, kind) == "fd00:c111::3"
        assert ask(host.web, HOST4, 8080, kind) == "10.200.0.1", "a container calls itself as the gateway"
        assert ask(host.web, HOST6, 8080, kind) == "fd00:c111::1"
        assert ask(None, HOST4, 8080, kind) == HOST4
        assert ask(None, HOST6, 8080, kind) == HOST6
        assert ask(None, "127.0.0.1", 8080, kind) == "10.200.0.1"
        assert ask(None, "::1", 8080, kind) == "fd00:c111::1"


@in_own_netns
def test_containers_leave_with_the_hosts_address() -> None:
    host = Host()
    for address in (WORLD4, WORLD6):
        server = host.world.socket(socket.SOCK_STREAM, address)
        server.bind((address, 90))
        server.listen()
        caller = host.web.socket(socket.SOCK_STREAM, address)
        caller.connect((address, 90))
        assert server.accept()[1][0] == (HOST4 if address == WORLD4 else HOST6)


@in_own_netns
def test_containers_keep_their_address_where_masquerade_is_off() -> None:
    host = Host(masquerade=False)
    host.world.run("ip", "route", "add", "10.200.0.0/24", "via", HOST4)
    server = host.world.socket(socket.SOCK_STREAM, WORLD4)
    server.bind((WORLD4, 90))
    server.listen()
    host.web.socket(socket.SOCK_STREAM, WORLD4).connect((WORLD4, 90))
    assert server.accept()[1][0] == "10.200.0.2"


@in_own_netns
def test_a_port_of_one_address_is_on_no_other() -> None:
    host = Host()
    host.serve()
    host.publish(tcp(80, 8081, ip="127.0.0.1"), tcp(80, 8082, ip=HOST4))
    assert ask(None, "127.0.0.1", 8081) == "10.200.0.1"
    assert ask(host.world, HOST4, 8081) == ""
    assert ask(host.world, HOST4, 8082) == WORLD4
    assert ask(None, "127.0.0.1", 8082) == ""


@in_own_netns
def test_a_port_is_gone_when_revoked_and_free_for_others() -> None:
    host = Host()
    host.serve()
    host.publish(tcp(80, 8080), replace(tcp(80, 8080), protocol="udp"))
    caller = host.world.socket(UDP, HOST4)
    caller.connect((HOST4, 8080))
    caller.send(b"?")
    assert caller.recv(100)
    host.ports.revoke(host.web.endpoint)
    host.ports.revoke(host.web.endpoint)
    assert ask(host.world, HOST4, 8080) == ""
    with pytest.raises(OSError):
        caller.send(b"a flow that was open does not go on")
        caller.recv(100)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("0.0.0.0", 8080))


@in_own_netns
def test_a_udp_flow_from_before_reaches_the_container() -> None:
    host = Host()
    host.serve()
    caller = host.world.socket(UDP, HOST4)
    caller.sendto(b"nobody is there yet", (HOST4, 8080))
    host.publish(replace(tcp(80, 8080), protocol="udp"))
    caller.sendto(b"?", (HOST4, 8080))
    assert caller.recv(100).decode() == WORLD4


@in_own_netns
def test_a_taken_port_is_refused_and_nothing_stays() -> None:
    host = Host()
    with socket.socket() as server:
        server.bind(("127.0.0.1", 8085))
        server.listen()
        with pytest.raises(Conflict, match=r"0\.0\.0\.0:8085/tcp.*already listens"):
            host.publish(tcp(80, 8084), tcp(80, 8085))
    with socket.socket() as free:
        free.bind(("0.0.0.0", 8084))
    assert "8084" not in run("nft", "list", "table", "inet", "ciliate")
    host.publish(tcp(80, 8085))
    named = replace(host.web.endpoint, container_name="web")
    host.ports.publish(named, [tcp(80, 8085)])
    with pytest.raises(Conflict, match="container web has it"):
        host.publish(tcp(80, 8085, ip=HOST4), container=host.other)


@in_own_netns
def test_nobody_else_can_take_a_published_port() -> None:
    host = Host()
    host.publish(tcp(80, 8080), replace(tcp(80, 8080), protocol="udp"))
    for kind in (socket.SOCK_STREAM, UDP):
        for family in (socket.AF_INET, socket.AF_INET6):
            with socket.socket(family, kind) as other, pytest.raises(OSError):
                if kind is socket.SOCK_STREAM:
                    other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                other.bind(("", 8080))


@in_own_netns
def test_a_connection_that_lingers_is_not_in_the_way() -> None:
    host = Host()
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((HOST4, 8080))
        server.listen()
        caller = socket.create_connection((HOST4, 8080))
        accepted, _ = server.accept()
        accepted.close()
        caller.close()
    host.publish(tcp(80, 8080))


@in_own_netns
def test_any_port_and_ranges() -> None:
    host = Host()
    four, six = host.publish(tcp(80, 0))
    first, last = (int(word) for word in run("sysctl", "-n", "net.ipv4.ip_local_port_range").split())
    assert four.host_port == six.host_port and first <= four.host_port <= last
    (ranged, _) = host.publish(tcp(80, 9000, 9001), container=host.other)
    assert ranged.host_port == 9000
    third = Container(host.links, 4)
    assert host.publish(tcp(80, 9000, 9001), container=third)[0].host_port == 9001
    with pytest.raises(Exhausted, match="between 9000 and 9001"):
        host.publish(tcp(80, 9000, 9001))


@in_own_netns
def test_publishing_again_replaces_what_was_published() -> None:
    host = Host()
    host.serve()
    host.serve(81)
    host.publish(tcp(80, 8080), tcp(80, 8081))
    host.publish(tcp(81, 8081), tcp(80, 8082))
    assert ask(host.world, HOST4, 8080) == ""
    assert ask(host.world, HOST4, 8081) == WORLD4
    assert ask(host.world, HOST4, 8082) == WORLD4
    with pytest.raises(InvalidInput):
        host.publish(tcp(80, 8083, ip="203.0.113.1"))
    assert ask(host.world, HOST4, 8082) == WORLD4, "a refused change changes nothing"


@in_own_netns
def test_the_same_port_named_twice_is_one() -> None:
    host = Host()
    assert len(host.publish(tcp(80, 8080), tcp(80, 8080))) == 4
    host.ports.revoke(host.web.endpoint)


@in_own_netns
def test_another_endpoint_of_the_container_serves_what_it_has() -> None:
    host = Host()
    ours = host.ports.publish(host.web.endpoint, [tcp(80, 8080)], sandbox="s", ipv6=False)
    assert [port.host_ip.version for port in ours] == [4]
    theirs = host.ports.publish(host.other.endpoint, [tcp(80, 8080)], sandbox="s")
    assert [port.host_ip.version for port in theirs] == [6]


@in_own_netns
def test_what_cannot_be_published_says_why() -> None:
    host = Host()
    with pytest.raises(InvalidInput, match=r"203\.0\.113\.1 is no address of this host"):
        host.publish(tcp(80, 8080, ip="203.0.113.1"))
    only4 = replace(host.web.endpoint, ipv6=None)
    with pytest.raises(InvalidInput, match="no IPv6 address"):
        host.ports.publish(only4, [tcp(80, 8080, ip="::1")])
    assert [port.host_ip.version for port in host.ports.publish(only4, [tcp(80, 8080)])] == [4]
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP).close()
    except OSError:
        with pytest.raises(Unsupported, match="no SCTP"):
            host.publish(PortBinding("sctp", 80, None, 8080, 8080))


@in_own_netns
def test_an_address_by_default_narrows_to_it() -> None:
    host = Host()
    loopback, any_address = IPv4Address("127.0.0.1"), IPv4Address("0.0.0.0")
    narrow = Ports(host.nft, default_ip=loopback)
    (port,) = narrow.publish(host.web.endpoint, [tcp(80, 8080)])
    assert port.host_ip == loopback
    narrow.revoke(host.web.endpoint)
    assert len(narrow.publish(host.web.endpoint, [tcp(80, 8080)], publish_ip=any_address)) == 2


@in_own_netns
def test_a_restart_goes_on_with_what_was_published() -> None:
    host = Host()
    host.serve()
    ports = host.publish(tcp(80, 8080), tcp(80, 8081))
    host.ports.close()
    assert ask(host.world, HOST4, 8080) == WORLD4, "the translation outlives the agent"
    taken = socket.create_server(("0.0.0.0", 8081))
    again = Ports(Nft(masquerade=True))
    lost = again.start(NETWORK.subnets, [replace(host.web.endpoint, ports=ports), host.other.endpoint])
    assert len(lost) == 1 and "0.0.0.0:8081/tcp" in lost[0]
    assert ask(host.world, HOST4, 8080) == WORLD4
    taken.close()


@in_own_netns
def test_a_flushed_table_comes_back() -> None:
    host = Host()
    host.serve()
    host.publish(tcp(80, 8080))
    assert not host.nft.check()
    run("nft", "flush", "ruleset")
    assert host.nft.check()
    assert ask(host.world, HOST4, 8080) == WORLD4
    run("nft", "flush", "ruleset")
    host.publish(tcp(80, 8081), container=host.other)
    assert ask(host.world, HOST4, 8080) == WORLD4, "a change finds out as well"


@in_own_netns
def test_the_table_goes_with_the_last_network() -> None:
    host = Host()
    host.nft.set_subnets([])
    assert run("nft", "list", "ruleset") == ""
    assert not host.nft.check()
    remove_table()


@in_own_netns
def test_a_refused_text_names_the_reason() -> None:
    host = Host()
    with pytest.raises(Unavailable, match="nft refused"):
        host.nft._run("add element inet ciliate nowhere { 1 }")
