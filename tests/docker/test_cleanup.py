"""`ciliate cleanup` refuses while containers need it, and leaves no trace when they do not."""

from __future__ import annotations

from collections.abc import Callable

from tests.docker.harness.host import Host


def test_the_host_is_as_it_was(fresh_host: Callable[..., Host]) -> None:
    host = fresh_host()
    before = host.traces()
    host.agent.start()
    host.network("n", "--ipv6")
    host.serve("web", "--network", "n", "-p", "8080:80")
    host.caller("client", "--network", "n")
    assert host.ask("client", "tcp", "web", 80)
    assert host.traces() != before

    refused = host.ciliate("cleanup", check=False)
    assert refused.status == 1
    assert "web" in refused.err + refused.out and "client" in refused.err + refused.out
    assert host.ask("client", "tcp", "web", 80)

    host.remove("web", "client")
    host.docker("network", "rm", "n")
    host.agent.stop()
    host.ciliate("cleanup")
    assert host.traces() == before


def test_force_detaches_what_still_runs(fresh_host: Callable[..., Host]) -> None:
    host = fresh_host()
    before = host.traces()
    host.agent.start()
    host.network("n")
    host.serve("web", "--network", "n")
    host.ciliate("cleanup", "--force")
    after = host.traces()
    assert after["pins"] == before["pins"]
    assert after["nftables"] == before["nftables"]
    assert after["links"] == before["links"]
