"""The unit, as systemd reads it: the agent comes before the engine, whose containers need their network driver."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import require
from tests.repo.test_tree import ROOT

ENGINE = """[Unit]
After=network-online.target docker.socket firewalld.service containerd.service
Wants=network-online.target
Requires=docker.socket
{more}
[Service]
ExecStart=/bin/true
"""
"""What Docker's own unit says about order."""

SOCKET = "[Socket]\nListenStream=/run/docker.sock\n"


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The unit of this repository beside an engine's, with programs that are there."""
    require(shutil.which("systemd-analyze") is not None, "systemd-analyze, of the package systemd")
    unit = (ROOT / "packaging/ciliate.service").read_text()
    (tmp_path / "ciliate.service").write_text(unit.replace("/usr/local/bin/ciliate-agent", "/bin/true"))
    (tmp_path / "docker.socket").write_text(SOCKET)
    (tmp_path / "docker.service").write_text(ENGINE.format(more=""))
    return tmp_path


def verify(units: Path) -> str:
    """What systemd finds wrong when both are to be started."""
    ran = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", units / "ciliate.service", units / "docker.service"],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{units}:"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode == 0) == (ran.stderr == ""), ran
    return ran.stderr


def test_systemd_finds_nothing_wrong(units: Path) -> None:
    assert verify(units) == ""


def test_the_agent_is_started_before_the_engine(units: Path) -> None:
    """An engine that insists on being first cannot be."""
    (units / "docker.service").write_text(ENGINE.format(more="Before=ciliate.service"))
    assert "cycle" in verify(units)


def test_whoever_starts_the_engine_gets_the_agent() -> None:
    lines = (ROOT / "packaging/ciliate.service").read_text().splitlines()
    assert "Before=docker.service" in lines
    assert "WantedBy=multi-user.target docker.service" in lines
