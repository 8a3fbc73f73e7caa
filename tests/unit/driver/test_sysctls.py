from __future__ import annotations

from pathlib import Path

import pytest

from driver.sysctls import FORWARDING4, FORWARDING6, Sysctls
from model.errors import Unavailable


class Machine:
    """A directory that looks like /proc/sys."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.saved: dict[str, str] = {}
        self.sysctls = Sysctls(lambda: self.saved, self.saved.__setitem__, root)
        for path, value in {
            FORWARDING4: "0",
            FORWARDING6: "0",
            "net/ipv6/conf/eth0/accept_ra": "1",
            "net/ipv6/conf/eth1/accept_ra": "0",
        }.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(f"{value}\n")

    def value(self, path: str) -> str:
        return (self.root / path).read_text().strip()


def test_forwarding_is_switched_on_and_put_back(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.sysctls.forward(ipv4=True, ipv6=False, uplinks=["eth0"])
    assert (machine.value(FORWARDING4), machine.value(FORWARDING6)) == ("1", "0")
    machine.sysctls.restore(keep=())
    assert machine.value(FORWARDING4) == "0"


def test_an_uplink_keeps_its_route_when_the_host_begins_to_route_ipv6(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.sysctls.forward(ipv4=True, ipv6=True, uplinks=["eth0", "eth1", "gone"])
    assert machine.value("net/ipv6/conf/eth0/accept_ra") == "2"
    assert machine.value("net/ipv6/conf/eth1/accept_ra") == "0"
    machine.sysctls.restore(keep=())
    assert machine.value("net/ipv6/conf/eth0/accept_ra") == "1"


def test_what_somebody_else_needs_stays(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.sysctls.forward(ipv4=True, ipv6=True, uplinks=["eth0"])
    machine.sysctls.restore(keep=[4])
    assert (machine.value(FORWARDING4), machine.value(FORWARDING6)) == ("1", "0")
    assert machine.value("net/ipv6/conf/eth0/accept_ra") == "1"


def test_it_goes_with_the_last_network_that_needs_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.sysctls.forward(ipv4=True, ipv6=True, uplinks=["eth0"], others=[4])
    machine.sysctls.forward(ipv4=True, ipv6=False, uplinks=["eth0"], others=[4, 6])
    assert machine.value(FORWARDING6) == "1", "somebody else's network has IPv6"
    machine.sysctls.forward(ipv4=False, ipv6=False, uplinks=["eth0"], others=[4])
    assert (machine.value(FORWARDING4), machine.value(FORWARDING6)) == ("1", "0")
    assert machine.value("net/ipv6/conf/eth0/accept_ra") == "1"
    machine.sysctls.forward(ipv4=True, ipv6=True, uplinks=["eth0"], others=[4])
    assert machine.value(FORWARDING6) == "1"


def test_only_the_first_value_is_remembered(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.sysctls.forward(ipv4=True, ipv6=False, uplinks=[])
    machine.sysctls.forward(ipv4=True, ipv6=False, uplinks=[])
    assert machine.saved == {FORWARDING4: "0"}
    (tmp_path / "net/ipv6/conf/eth0/accept_ra").unlink()
    machine.sysctls.restore(keep=())


def test_a_switch_that_cannot_be_set(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    (tmp_path / FORWARDING4).unlink()
    (tmp_path / FORWARDING4).mkdir()
    with pytest.raises(Unavailable, match="ip_forward"):
        machine.sysctls.forward(ipv4=True, ipv6=False, uplinks=[])
