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
    assert "Docker still has" not in host.ciliate("cleanup").out
    assert host.traces() == before


def test_force_detaches_what_still_runs(fresh_host: Callable[..., Host]) -> None:
    host = fresh_host()
    before = host.traces()
    host.agent.start()
    host.network("n")
    host.serve("web", "--network", "n")
    told = host.ciliate("cleanup", "--force").out
    assert "the network n of ciliate, and on them the container web" in told
    assert "`docker rm -f web` and `docker network rm n`" in told
    after = host.traces()
    assert after["pins"] == before["pins"]
    assert after["nftables"] == before["nftables"]
    assert after["links"] == before["links"]


def test_what_only_rests_is_named(fresh_host: Callable[..., Host]) -> None:
    """It does not keep ciliate from going, but will not start again."""
    host = fresh_host()
    host.agent.start()
    host.network("n")
    host.network("m")
    host.start("web", "--network", "n")
    host.start("apart")
    host.docker("stop", "web", "apart")
    told = host.ciliate("cleanup").out
    assert "the networks m, n of ciliate, and on them the container web, which cannot start" in told
    assert "apart" not in told
