"""`ciliate cleanup` hands over to the agent's program of the same environment."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def environment_with(tmp_path: Path, agent: str | None) -> Path:
    """The interpreter of an environment whose ciliate-agent is this script."""
    interpreter = tmp_path / "bin" / "python"
    interpreter.parent.mkdir()
    interpreter.symlink_to(sys.executable)
    if agent is not None:
        program = interpreter.parent / "ciliate-agent"
        program.write_text(agent)
        program.chmod(0o755)
    return interpreter


def cleanup(interpreter: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(interpreter), "-m", "cli.main", "cleanup", *arguments],
        cwd=ROOT,
        env={"PYTHONPATH": sysconfig.get_path("purelib")},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(("arguments", "passed_on"), [((), "--cleanup"), (("--force",), "--cleanup --force")])
def test_what_the_agent_is_asked(tmp_path: Path, arguments: tuple[str, ...], passed_on: str) -> None:
    interpreter = environment_with(tmp_path, '#!/bin/sh\necho "$@"\necho refused >&2\nexit 1\n')
    ran = cleanup(interpreter, *arguments)
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, f"{passed_on}\n", "refused\n")


def test_without_the_agents_program(tmp_path: Path) -> None:
    interpreter = environment_with(tmp_path, None)
    ran = cleanup(interpreter)
    assert ran.returncode == 1
    assert ran.stderr.startswith(f"error: {interpreter.parent}/ciliate-agent does not exist\nhint: ")
