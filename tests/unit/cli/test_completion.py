"""What TAB offers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.conftest import CannedAgent, Ciliate

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script(ciliate: Ciliate, shell: str) -> None:
    ran = ciliate("completion", shell)
    assert ran.status == 0
    assert f"_CILIATE_COMPLETE={shell}_complete" in ran.out


def test_another_shell_is_wrong_usage(ciliate: Ciliate) -> None:
    assert ciliate("completion", "tcsh").status == 2


def complete(run_dir: Path, *words: str) -> list[str]:
    """What bash would offer for the last word."""
    environment = {
        **os.environ,
        "CILIATE_RUN_DIR": str(run_dir),
        "_CILIATE_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["ciliate", *words]),
        "COMP_CWORD": str(len(words)),
    }
    ran = subprocess.run(
        [sys.executable, "-m", "cli.main"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stderr == ""
    return [line.partition(",")[2] for line in ran.stdout.splitlines() if line]


def test_commands(tmp_path: Path) -> None:
    assert complete(tmp_path, "end") == ["endpoint"]
    assert complete(tmp_path, "policy", "val") == ["validate"]


def test_endpoints_by_number_and_name(agent: CannedAgent, tmp_path: Path) -> None:
    agent.on(
        "GET",
        "/v1/endpoint",
        [
            {"id": 7, "container_name": "web"},
            {"id": 71, "container_name": "db"},
            {"id": 8, "container_name": "worker"},
        ],
    )
    assert complete(tmp_path, "endpoint", "get", "7") == ["7", "71"]
    assert complete(tmp_path, "endpoint", "labels", "w") == ["web", "worker"]


def test_maps(agent: CannedAgent, tmp_path: Path) -> None:
    """That these are those that `map get` takes is shown with the real agent, in tests/kernel/agent/test_maps.py."""
    names = {"ct4": True, "endpoints": True, "epoch": False}
    agent.on(
        "GET",
        "/v1/map",
        [{"name": name, "type": "hash", "readable": readable} for name, readable in names.items()],
    )
    assert complete(tmp_path, "map", "get", "e") == ["endpoints"]


def test_without_an_agent_nothing_is_offered(tmp_path: Path) -> None:
    assert complete(tmp_path, "identity", "get", "1") == []
