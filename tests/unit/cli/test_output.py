"""Tables on a real terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tests.unit.cli.conftest import CannedAgent

ROOT = Path(__file__).parents[3]

MANY = " ".join(f"container:label{number}=value" for number in range(4))


def on_terminal(columns: int, agent: CannedAgent, *arguments: str, colour: bool = True) -> str:
    """What a terminal of so many columns gets to see."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    environment |= {"TERM": "xterm-256color"} if colour else {"TERM": "xterm", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "cli.main", "--api", str(agent.socket), *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=theirs, stdin=subprocess.DEVNULL, env=environment)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:  # Linux says EIO when the other side is closed
        pass
    os.close(ours)
    assert process.wait() == 0
    return shown.decode().replace("\r\n", "\n")


@pytest.fixture(autouse=True)
def _identities(agent: CannedAgent) -> None:
    agent.on("GET", "/v1/identity", [{"id": 1001, "labels": MANY.split()}])


def test_labels_wrap_where_the_terminal_ends(agent: CannedAgent) -> None:
    shown = on_terminal(60, agent, "identity", "list", colour=False)
    assert [line.rstrip() for line in shown.splitlines()][1:] == [
        "1001  container:label0=value container:label1=value",
        "      container:label2=value container:label3=value",
    ]


def test_nothing_is_cut_on_a_terminal_that_is_too_narrow(agent: CannedAgent) -> None:
    shown = on_terminal(12, agent, "identity", "list", colour=False)
    assert [line.strip() for line in shown.splitlines()][1:] == [
        "1001  container:label0=value",
        "container:label1=value",
        "container:label2=value",
        "container:label3=value",
    ]


def test_colour_is_for_terminals_that_want_it(agent: CannedAgent) -> None:
    assert "\x1b[1m" in on_terminal(80, agent, "identity", "list")
    assert not re.search("\x1b\\[3[0-9]m", on_terminal(80, agent, "identity", "list", colour=False))
