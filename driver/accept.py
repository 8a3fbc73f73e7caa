"""Accept rules where the host's own firewall would eat our packets: Docker sets the policy of FORWARD to DROP.

They let through what leaves a container, what answers it, what was translated for a published port, and what other
nodes route to it, no more: an unpublished port stays out of reach for other machines, as with Docker's own networks,
and what goes to a bridge of Docker's is left to Docker's rules. eBPF judges all of it besides. Rules of the user in
DOCKER-USER come first.

Making the rules' text and reading `iptables -S` is pure; Acceptance runs the commands."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from datapath.abi import PacketMark
from driver.plan import DEVICE_GROUP
from model.errors import Unavailable

log = structlog.get_logger("driver")

COMMENT = "ciliate"
ANSWER_SECONDS = 4.0

_USER_CHAIN = "DOCKER-USER"
_MARK = f"-m comment --comment {COMMENT}"
_ROUTED = f"{PacketMark.ROUTED:#x}/{PacketMark.MASK:#x}"


@dataclass(frozen=True, slots=True)
class FirewallFacts:
    """What `status` shows, because it drops packets that no ciliate policy names."""

    docker_user: tuple[str, ...] = ()
    """Rules in DOCKER-USER that are neither ours nor Docker's."""
    ufw: bool = False
    firewalld: bool = False


def rules(bridges: Collection[str], *, routed: bool = False) -> tuple[str, ...]:
    """As iptables prints them, without the chain. `routed`: containers of other nodes come by the host's routes.
    PURE."""
    source, target = (
        f"-m devgroup --src-group {DEVICE_GROUP:#x}",
        f"-m devgroup --dst-group {DEVICE_GROUP:#x}",
    )
    both = f"{source} --dst-group {DEVICE_GROUP:#x}"
    return (
        f"{both} {_MARK} -j ACCEPT",
        *(f"-o {bridge} {source} {_MARK} -j RETURN" for bridge in sorted(bridges)),
        f"{source} {_MARK} -j ACCEPT",
        f"{target} -m conntrack --ctstate RELATED,ESTABLISHED,DNAT {_MARK} -j ACCEPT",
        *([f"{target} -m mark --mark {_ROUTED} {_MARK} -j ACCEPT"] if routed else []),
    )


def changes(
    forward: Sequence[str],
    user: Sequence[str] | None,
    bridges: Collection[str],
    active: bool,
    *,
    routed: bool = False,
) -> str:
    """Input for iptables-restore that makes it so, "" if it is. `forward` and `user` are the chains FORWARD and
    DOCKER-USER as `iptables -S` prints them, `user` None if there is none. PURE."""
    chain, content = ("FORWARD", forward) if user is None else (_USER_CHAIN, user)
    needed = active and (user is not None or "-P FORWARD DROP" in forward)
    wanted = [f"-A {chain} {rule}" for rule in rules(bridges, routed=routed)] if needed else []
    present = [line for line in (*forward, *(user or ())) if _MARK in line]
    if present == wanted:
        return ""
    others = [line for line in content if line.startswith("-A ") and line not in present]
    lines = [line.replace("-A ", "-D ", 1) for line in present]
    if others and others[-1] == f"-A {chain} -j RETURN":
        place = len(others)
        lines += [line.replace(f"-A {chain}", f"-I {chain} {place + i}", 1) for i, line in enumerate(wanted)]
    else:
        lines += wanted
    return "\n".join(["*filter", *lines, "COMMIT", ""])


def foreign_rules(user: Sequence[str]) -> tuple[str, ...]:
    """PURE."""
    return tuple(
        line
        for line in user
        if line.startswith("-A ") and _MARK not in line and line != f"-A {_USER_CHAIN} -j RETURN"
    )


class Acceptance:
    """`ensure` is cheap enough to be called every half minute and after each start of the engine."""

    def __init__(self, proc_net: Path = Path("/proc/thread-self/net")) -> None:
        self._proc_net = proc_net
        self._lock = threading.Lock()
        self._bridges: frozenset[str] = frozenset()
        self._active = False
        self._routed = False
        self._clean = False
        """Nothing of ours is there, and nothing needed."""
        self._facts = FirewallFacts()

    @property
    def facts(self) -> FirewallFacts:
        """As of the last `ensure`."""
        return self._facts

    def set_bridges(self, bridges: Collection[str]) -> None:
        """Names of bridges that are not ours. What cannot be done at once is left to the next `ensure`."""
        if frozenset(bridges) != self._bridges:
            self._bridges = frozenset(bridges)
            if self._active:
                try:
                    self.ensure()
                except Unavailable as error:
                    log.warning("a new bridge is not yet excepted", reason=error.message)

    def set_active(self, active: bool) -> None:
        """Whether there are networks to let through."""
        if active != self._active:
            self._active = active
            self.ensure()

    def set_routed(self, routed: bool) -> None:
        """Whether containers of other nodes come by the host's routes."""
        if routed != self._routed:
            self._routed = routed
            self.ensure()

    def ensure(self) -> None:
        """Raises Unavailable if iptables does not do as told."""
        if self._clean and not self._active:
            return
        with self._lock:
            user_rules: list[str] = []
            ufw = False
            for command in self._commands():
                forward, user = _list(command, "FORWARD"), _list(command, _USER_CHAIN)
                if forward is None:
                    continue
                user_rules += foreign_rules(user or ())
                ufw = ufw or any("ufw-" in line for line in forward)
                text = changes(forward, user, self._bridges, self._active, routed=self._routed)
                if text:
                    _restore(command, text)
            self._facts = FirewallFacts(tuple(user_rules), ufw, _has_firewalld() if self._active else False)
            self._clean = not self._active

    def remove(self) -> None:
        """Every rule of ours, in whichever variant of iptables it is."""
        self._active = False
        self.ensure()

    def _commands(self) -> Iterator[str]:
        """The variants whose tables exist: asking a legacy iptables would make its tables."""
        for command, names in (("iptables", "ip_tables_names"), ("ip6tables", "ip6_tables_names")):
            yield f"{command}-nft"
            try:
                legacy = "filter" in (self._proc_net / names).read_text().split()
            except OSError:
                legacy = False
            if legacy:
                yield f"{command}-legacy"


def _list(command: str, chain: str) -> list[str] | None:
    """None if there is no such chain or command."""
    done = _run([command, "-w", "2", "-S", chain])
    return done.stdout.splitlines() if done is not None and done.returncode == 0 else None


def _restore(command: str, text: str) -> None:
    done = _run([f"{command}-restore", "-w", "2", "--noflush"], text)
    if done is None or done.returncode != 0:
        reason = done.stderr.strip().splitlines() if done is not None else []
        raise Unavailable(
            f"{command} did not take the rules that let containers through: {next(iter(reason), 'not found')}"
        )


def _has_firewalld() -> bool:
    done = _run(["nft", "list", "tables", "inet"])
    return done is not None and "inet firewalld" in done.stdout


def _run(arguments: Sequence[str], text: str = "") -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(
            arguments, input=text, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False
        )
    except FileNotFoundError:
        return None
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{arguments[0]} did not end within {ANSWER_SECONDS:g} s") from error
