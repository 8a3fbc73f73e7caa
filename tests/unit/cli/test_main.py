"""How `ciliate` ends: exit status, the line of the error, the hint."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from cli.main import run
from tests.unit.cli.conftest import CannedAgent, Ciliate

ROOT = Path(__file__).parents[3]

NOBODY = 65534

NOWHERE = {
    "prefix": "::/0",
    "identity": 2,
    "network": 0,
    "network_name": "",
    "node": "",
    "ifindex": 0,
    "endpoint": 0,
}


def test_without_an_agent_the_hint_says_how_to_start_it(tmp_path: Path, ciliate: Ciliate) -> None:
    ran = ciliate("identity", "list")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err == (
        f"error: the agent does not answer at {tmp_path}/api.sock: No such file or directory\n"
        "hint: start it: `systemctl start ciliate` (or `make run` in a clone)\n"
    )


@pytest.mark.parametrize(
    ("arguments", "says", "place"),
    [
        (("endpint",), "No such command 'endpint'. Did you mean 'endpoint'?", "ciliate"),
        (("nonsense",), "No such command 'nonsense'.", "ciliate"),
        (("endpoint", "lst"), "No such command 'lst'. Did you mean 'list'?", "ciliate endpoint"),
        (("endpoint", "get"), "Missing argument 'ENDPOINT'.", "ciliate endpoint get"),
        (("ip", "list", "-o", "xml"), "'xml' is not one of 'json', 'yaml'.", "ciliate ip list"),
        (("identity", "get", "web"), "'web' is not a valid integer range.", "ciliate identity get"),
        (("status", "--verbos"), "No such option '--verbos'", "ciliate status"),
    ],
)
def test_wrong_usage_is_2(ciliate: Ciliate, arguments: tuple[str, ...], says: str, place: str) -> None:
    ran = ciliate(*arguments)
    assert (ran.status, ran.out) == (2, "")
    error, hint = ran.err.splitlines()
    assert error.startswith("error: ") and says in error
    assert hint == f"hint: see `{place} --help`"


@pytest.mark.parametrize("group", ["endpoint", "bpf"])
def test_a_group_without_a_command_explains_itself(ciliate: Ciliate, group: str) -> None:
    ran = ciliate(group)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith("Usage: ciliate ") and "\nCommands:\n" in ran.err


def test_a_refusal_names_the_field(agent: CannedAgent, ciliate: Ciliate) -> None:
    agent.on("GET", "/v1/ip", {"error": "broken\nin two", "path": "a.b", "hint": ""}, 503)
    ran = ciliate("ip", "list")
    assert (ran.status, ran.err) == (1, "error: a.b: broken in two\n")


def test_an_answer_that_is_none_of_ciliates_is_a_clear_error(agent: CannedAgent, ciliate: Ciliate) -> None:
    agent.on("GET", "/v1/ip", b"<html>", 502)
    assert ciliate("ip", "list").err == "error: status 502 Bad Gateway\n"
    agent.on("GET", "/v1/ip", b"<html>")
    assert "answer to GET ip is not understood" in ciliate("ip", "list").err


def test_another_socket_can_be_named(agent: CannedAgent, capsys: pytest.CaptureFixture[str]) -> None:
    agent.on("GET", "/v1/ip", [])
    assert run(["--api", str(agent.socket), "ip", "list"]) == 0


def test_who_may_not_write_reads_through_the_groups_socket(agent: CannedAgent) -> None:
    """Seen as another user, because root may open every socket."""
    agent.on("GET", "/v1/ip", [{**NOWHERE, "prefix": "10.0.0.0/8"}])
    agent.on("GET", "/v1/policy/name", [])
    with TemporaryDirectory() as place:
        run_dir = Path(place)
        run_dir.chmod(0o755)
        agent.socket.rename(run_dir / "api-ro.sock").chmod(0o666)
        (run_dir / "api.sock").touch(0o600 if os.geteuid() == 0 else 0o000)

        def as_nobody(*arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, "-m", "cli.main", "--run-dir", place, *arguments],
                cwd=ROOT,
                capture_output=True,
                text=True,
                user=NOBODY if os.geteuid() == 0 else None,
            )

        assert "10.0.0.0/8" in as_nobody("ip", "list").stdout
        written = as_nobody("policy", "delete", "name=web")
    assert written.returncode == 1
    assert written.stderr == (
        f"error: no permission to talk to the agent at {run_dir}/api.sock\n"
        "hint: run this as root: whoever writes owns the network\n"
    )


def test_a_reader_that_leaves_early_is_no_error(agent: CannedAgent) -> None:
    many = [{"id": number, "labels": ["container:app=web"]} for number in range(256, 20000)]
    agent.on("GET", "/v1/identity", many)
    command = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "--api", str(agent.socket), "identity", "list", "-o", "json"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert command.stdout is not None and command.stderr is not None
    command.stdout.readline()
    command.stdout.close()
    assert (command.wait(20), command.stderr.read()) == (0, b"")
    command.stderr.close()


def test_commands_import_only_what_they_need() -> None:
    """`status` and `monitor` in a loop must not pay for YAML, nor --help for tables."""
    script = (
        "import sys, cli.main\n"
        "cli.main.run(['--help'])\n"
        "print([name for name in ('yaml', 'rich', 'http.client') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "['http.client']"
