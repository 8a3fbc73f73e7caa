"""The world beyond a host's uplink: a router on the same link, and a machine behind it.

Addresses are of the documentation ranges. On the link the host is .2 and the world .1; `FAR` is reached through the
world's router only. The world knows no route to containers: what leaves the host must bear the host's address, or the
answer is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.docker.harness.commands import Result
from tests.docker.harness.sandbox import Sandbox, wait_until

HOST4, ROUTER4, FAR4 = "192.0.2.2", "192.0.2.1", "198.51.100.1"
HOST6, ROUTER6, FAR6 = "2001:db8::2", "2001:db8::1", "2001:db8:f::1"

SPEAKER = str(Path(__file__).with_name("speaker.py"))

_SETUP = f"""
ip netns add world
ip link add eth0 type veth peer name uplink netns world
echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad
ip address add {HOST4}/24 dev eth0
ip address add {HOST6}/64 dev eth0 nodad
ip -n world link set lo up
ip -n world address add {ROUTER4}/24 dev uplink
ip -n world address add {ROUTER6}/64 dev uplink nodad
ip -n world address add {FAR4}/32 dev lo
ip -n world address add {FAR6}/128 dev lo
ip -n world link set uplink up
ip link set eth0 up
ip route add default via {ROUTER4}
ip -6 route add default via {ROUTER6}
"""


@dataclass(frozen=True, slots=True)
class World:
    """Commands run behind `enter`: in a network namespace of its own, which lives and dies with the host's sandbox, or
    in a sandbox that several hosts share."""

    sandbox: Sandbox
    enter: tuple[str, ...] = ("ip", "netns", "exec", "world")

    @classmethod
    def beyond(cls, sandbox: Sandbox) -> World:
        sandbox.run("sh", "-ec", _SETUP)
        wait_until(
            lambda: sandbox.run("ip", "-br", "link", "show", "eth0").out.split()[1] == "UP",
            "the uplink is up",
        )
        ask_router_for_names(sandbox)
        return cls(sandbox)

    def run(self, *arguments: str, **options: Any) -> Result:
        return self.sandbox.run(*self.enter, *arguments, **options)

    def curl(self, url: str, *arguments: str, check: bool = True, timeout: float = 5.0) -> Result:
        """Never through a proxy."""
        return self.run("curl", "-sS", "--noproxy", "*", "-m", str(timeout), *arguments, url, check=check)

    def ask(self, protocol: str, address: str, port: int, *, seconds: float = 2.0) -> str:
        """What a server of `tests.docker.harness.speaker` there answers; "" for nothing."""
        return ask(self.sandbox, self.enter, protocol, address, port, seconds)

    @contextmanager
    def serving(self, port: int = 7) -> Iterator[None]:
        """A server of `speaker` on every address of the world."""
        server = self.sandbox.start(*self.enter, "python3", SPEAKER, "serve", str(port))
        try:
            wait_until(lambda: self.ask("tcp", "127.0.0.1", port), f"a server on port {port} of the world")
            yield
        finally:
            self.sandbox.end(server)


def ask_router_for_names(sandbox: Sandbox) -> None:
    """Nobody serves names there: a look-up fails at once instead of after a time-out."""
    sandbox.path("/etc/resolv.conf").unlink(missing_ok=True)
    sandbox.path("/etc/resolv.conf").write_text(f"nameserver {ROUTER4}\n")


def ask(
    sandbox: Sandbox,
    prefix: tuple[str, ...],
    protocol: str,
    address: str,
    port: int,
    seconds: float,
    script: str = SPEAKER,
) -> str:
    result = sandbox.run(
        *(*prefix, "python3", script, "ask", protocol, address, str(port), str(seconds)), check=False
    )
    return result.out.strip()
