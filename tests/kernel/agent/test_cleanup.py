"""`ciliate cleanup`, whatever state the host is in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kernel.agent.host import Host


@pytest.fixture
def bare(machine: Host) -> Iterator[Host]:
    """The machine as if ciliate had never been there."""
    machine.cleanup("--force")
    yield machine
    machine.cleanup("--force")


def traces(host: Host) -> dict[str, tuple[str, ...]]:
    looks = {
        "links": ("ip", "-br", "link"),
        "addresses": ("ip", "-br", "address"),
        "routes": ("ip", "route", "show", "table", "all"),
        "nftables": ("nft", "list", "ruleset"),
        "pins": ("find", "/sys/fs/bpf", "-mindepth", "1"),
        "run": ("find", "/run", "-mindepth", "1"),
        # The cache of compiled programs is another directory here, mounted.
        "state": ("find", "/var/lib/ciliate", "-mindepth", "1", "-not", "-path", "*/bpf-cache*"),
        "sysctls": ("sysctl", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"),
    }
    return {what: tuple(sorted(host.run(*look, check=False).lines)) for what, look in looks.items()}


@pytest.mark.parametrize("agent", ["running", "ended", "killed"])
def test_nothing_is_left_and_a_repetition_finds_nothing(bare: Host, agent: str) -> None:
    before = traces(bare)
    bare.agent.start()
    bare.network(ipv6=True)
    assert traces(bare) != before
    if agent == "ended":
        bare.agent.stop()
    elif agent == "killed":
        bare.agent.kill("supervisor")
    done = bare.cleanup()
    assert (done.status, "`docker network rm aaaaaaaaaaaa`" in done.out) == (0, True), (
        "no engine tells its name"
    )
    assert traces(bare) == before
    again = bare.cleanup()
    assert (again.status, again.err, "docker" in again.out) == (0, "", False)
    assert traces(bare) == before


def test_it_refuses_while_an_endpoint_lives_and_takes_it_by_force(bare: Host) -> None:
    before = traces(bare)
    bare.agent.start()
    endpoint = bare.container(1, bare.network())
    refused = bare.cleanup()
    assert refused.status == 1
    assert endpoint[:12] in refused.err and "--force" in refused.err
    assert bare.endpoints(), "the agent goes on"
    forced = bare.cleanup("--force")
    assert forced.status == 0 and "1 endpoints" in forced.out
    assert traces(bare) == before


def test_records_that_cannot_be_read_are_no_reason_to_stay(bare: Host) -> None:
    before = traces(bare)
    bare.agent.start()
    bare.network()
    bare.agent.stop()
    bare.sandbox.path("/var/lib/ciliate/node.db").write_bytes(b"nonsense" * 1000)
    done = bare.cleanup()
    assert done.status == 0
    after = traces(bare)
    assert {what: after[what] for what in before if what != "sysctls"} == {
        what: before[what] for what in before if what != "sysctls"
    }
