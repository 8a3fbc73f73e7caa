"""`make cluster-up` and `make cluster-down`."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.docker.harness.agent_process import REPOSITORY
from tests.docker.harness.engines import compose_plugin
from tests.docker.harness.lending import engine
from tests.docker.harness.sandbox import wait_until


def play(what: str, folder: Path) -> list[str]:
    return [sys.executable, "-m", "tests.cluster.play", what, str(folder)]


def sandboxes(folder: Path) -> list[Path]:
    keeper = (folder / "keeper.pid").read_text()
    return list(Path(tempfile.gettempdir()).glob(f"ct-{keeper}-*"))


def test_three_hosts_to_play_with_and_nothing_of_them_afterwards(tmp_path: Path) -> None:
    engine()
    compose_plugin()
    folder = tmp_path / "cluster"
    shown = subprocess.run(play("up", folder), cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert str(folder / "a") in shown.stdout
    made = sandboxes(folder)
    try:
        for name in "abc":
            for command in (["docker", "network", "ls"], ["ciliate", "status"], ["consul", "members"]):
                subprocess.run([folder / name, *command], check=True, capture_output=True)
        assert subprocess.run(play("up", folder), cwd=REPOSITORY, capture_output=True).returncode == 1
    finally:
        subprocess.run(play("down", folder), cwd=REPOSITORY, capture_output=True, check=True)
    assert len(made) == 4 and not any(directory.exists() for directory in made)
    assert not folder.exists()


def test_who_interrupts_the_start_leaves_nothing(tmp_path: Path) -> None:
    engine()
    folder = tmp_path / "cluster"
    starting = subprocess.Popen(
        play("up", folder), cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    pid = folder / "keeper.pid"
    wait_until(lambda: pid.exists() and pid.read_text(), "the keeper runs", pause=0.01)
    made = Path(tempfile.gettempdir()), f"ct-{pid.read_text()}-*"
    wait_until(lambda: len(list(made[0].glob(made[1]))) > 2, "hosts are being made", pause=0.01)
    starting.send_signal(signal.SIGINT)
    starting.communicate(timeout=60)
    assert starting.returncode != 0
    assert not list(made[0].glob(made[1]))
