"""Starts the datapath's loader and takes its answer.

A process of its own, so that LLVM never lives in the agent; and started before the agent imports the rest of itself,
which takes longer than a load from the cache."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from agent.settings import Settings
from model.errors import Unavailable

LOADER_SECONDS = 60.0

Loading = subprocess.Popen[str]


def start_loader(settings: Settings) -> Loading:
    command = [sys.executable, "-m", "datapath.loader"]
    command += ["--root", str(settings.bpf_root), "--cache", str(settings.state_dir / "bpf-cache")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish_loader(loading: Loading) -> dict[str, Any]:
    """What it says: compiled, features, seconds. Raises Unavailable with the loader's own words."""
    try:
        said, complaint = loading.communicate(timeout=LOADER_SECONDS)
    except subprocess.TimeoutExpired as error:
        loading.kill()
        loading.communicate()
        raise Unavailable(f"the datapath was not loaded within {LOADER_SECONDS:g} s") from error
    if loading.returncode:
        raise Unavailable(f"the datapath cannot be loaded: {complaint.strip() or _end(loading.returncode)}")
    report: dict[str, Any] = json.loads(said.splitlines()[-1])
    return report


def _end(status: int) -> str:
    return f"the loader was ended by signal {-status}" if status < 0 else f"the loader ended with {status}"
