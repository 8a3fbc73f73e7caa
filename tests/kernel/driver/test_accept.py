"""The host's own firewall, by real iptables and real packets."""

from __future__ import annotations

import shutil
import socket

import pytest

from driver.accept import Acceptance
from driver.links import Links
from driver.nft import Nft
from driver.options import PortBinding
from driver.ports import Ports
from driver.sysctls import Sysctls
from tests.conftest import require
from tests.kernel.driver.topology import HOST4, NETWORK, WORLD4, Container, World, ask, run
from tests.kernel.netns import in_own_netns


@pytest.fixture(autouse=True)
def iptables() -> None:
    require(shutil.which("iptables-nft") is not None, "iptables")


def like_docker(variant: str = "nft") -> None:
    """What dockerd 20.10 makes of FORWARD."""
    for command in ("iptables", "ip6tables"):
        run(f"{command}-{variant}", "-w", "-P", "FORWARD", "DROP")
        run(f"{command}-{variant}", "-w", "-N", "DOCKER-USER")
        run(f"{command}-{variant}", "-w", "-A", "DOCKER-USER", "-j", "RETURN")
        run(f"{command}-{variant}", "-w", "-I", "FORWARD", "-j", "DOCKER-USER")


def chain(variant: str = "nft", name: str = "DOCKER-USER") -> list[str]:
    return run(f"iptables-{variant}", "-w", "-S", name).splitlines()


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_our_rules_are_in_dockers_chain_once(variant: str) -> None:
    @in_own_netns
    def story() -> None:
        like_docker(variant)
        before = chain(variant)
        acceptance = Acceptance()
        acceptance.set_bridges(["docker0"])
        assert chain(variant) == before, "not before there is a network"
        acceptance.set_active(True)
        made = chain(variant)
        assert len(made) == len(before) + 4 and made[-1] == before[-1]
        acceptance.ensure()
        assert chain(variant) == made
        acceptance.set_bridges(["docker0", "br-1"])
        assert len(chain(variant)) == len(before) + 5
        run(f"iptables-{variant}", "-w", "-F", "DOCKER-USER")
        acceptance.ensure()
        assert len(chain(variant)) == 6, "made anew after somebody flushed them"
        acceptance.remove()
        assert chain(variant) == ["-N DOCKER-USER"]

    story()


@in_own_netns
def test_a_host_that_drops_nothing_gets_no_rules() -> None:
    acceptance = Acceptance()
    acceptance.set_active(True)
    assert run("nft", "list", "ruleset") == "", "asking makes no tables"


@in_own_netns
def test_a_host_that_drops_without_docker() -> None:
    run("iptables-nft", "-w", "-P", "FORWARD", "DROP")
    acceptance = Acceptance()
    acceptance.set_active(True)
    assert len(chain(name="FORWARD")) == 4
    acceptance.remove()
    assert chain(name="FORWARD") == ["-P FORWARD DROP"]


@in_own_netns
def test_what_others_wrote_is_reported() -> None:
    like_docker()
    run("iptables-nft", "-w", "-I", "DOCKER-USER", "-s", "203.0.113.0/24", "-j", "DROP")
    run("iptables-nft", "-w", "-N", "ufw-before-forward")
    run("iptables-nft", "-w", "-A", "FORWARD", "-j", "ufw-before-forward")
    acceptance = Acceptance()
    acceptance.set_active(True)
    assert acceptance.facts.docker_user == ("-A DOCKER-USER -s 203.0.113.0/24 -j DROP",)
    assert acceptance.facts.ufw and not acceptance.facts.firewalld
    assert chain()[1] == "-A DOCKER-USER -s 203.0.113.0/24 -j DROP", "the user's rules come first"


@in_own_netns
def test_what_passes_a_host_that_drops() -> None:
    run("ip", "link", "set", "lo", "up")
    like_docker()
    world, links = World(), Links()
    web, other = Container(links, 2), Container(links, 3)
    Sysctls(dict, lambda _path, _value: None).forward(ipv4=True, ipv6=True, uplinks=[])
    nft = Nft(masquerade=True)
    nft.set_subnets(NETWORK.subnets)
    Ports(nft).publish(web.endpoint, [PortBinding("tcp", 80, None, 8080, 8080)])
    web.serve("10.200.0.2", 80)
    assert ask(world, HOST4, 8080) == "", "the firewall is in the way"

    Acceptance().set_active(True)
    assert ask(world, HOST4, 8080) == WORLD4
    assert ask(other, "10.200.0.2", 80) == "10.200.0.3"
    world.run("ip", "route", "add", "10.200.0.0/24", "via", HOST4)
    assert ask(world, "10.200.0.2", 80) == "", "an unpublished port is out of reach"
    server = world.socket(socket.SOCK_STREAM, WORLD4)
    server.bind((WORLD4, 90))
    server.listen()
    web.socket(socket.SOCK_STREAM, WORLD4).connect((WORLD4, 90))


@in_own_netns
def test_dockers_own_containers_stay_dockers_business() -> None:
    like_docker()
    links = Links()
    web = Container(links, 2)
    Sysctls(dict, lambda _path, _value: None).forward(ipv4=True, ipv6=False, uplinks=[])
    run("ip", "link", "add", "docker0", "type", "bridge")
    run("ip", "address", "add", "172.17.0.1/16", "dev", "docker0")
    run("ip", "link", "set", "docker0", "up")
    acceptance = Acceptance()
    acceptance.set_bridges(["docker0"])
    acceptance.set_active(True)
    before = run("iptables-nft", "-w", "-nvxL", "FORWARD")
    caller = web.socket(socket.SOCK_STREAM, "172.17.0.2")
    caller.settimeout(0.2)
    with pytest.raises(OSError):
        caller.connect(("172.17.0.2", 80))
    assert "policy DROP 0 packets" in before
    assert "policy DROP 0 packets" not in run("iptables-nft", "-w", "-nvxL", "FORWARD")
