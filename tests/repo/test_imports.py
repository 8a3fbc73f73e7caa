"""The rules of pyproject.toml about who may import whom are kept, and they bite: each is broken once in a copy."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

from tests.repo.test_tree import PACKAGES, PROJECT, ROOT, sources

CONTRACTS = {contract["name"]: contract for contract in PROJECT["tool"]["importlinter"]["contracts"]}

PURE_FORBIDS = CONTRACTS["Pure code does no input, output or waiting"]["forbidden_modules"]

BREACHES = [
    ("Dependencies point downwards, and nothing imports agent", "driver", "import agent.settings"),
    ("Dependencies point downwards, and nothing imports agent", "model", "import policy"),
    ("cli reaches the agent by HTTP alone", "cli", "import store"),
    ("ipam_driver knows store and model", "ipam_driver", "import datapath"),
    ("observe knows datapath and model", "observe", "import policy"),
    ("store knows model", "store", "import identity"),
    ("Pure code does no input, output or waiting", "policy", "import socket"),
    ("Pure code does no input, output or waiting", "identity", "import time"),
    ("bcc is used by the loader alone", "agent", "import bcc"),
    ("py-consul is used by the Consul store alone", "agent", "import consul"),
    ("pyroute2 is used by links, tunnels, hostview and attach alone", "agent", "import pyroute2"),
    ("Docker's SDK is used by containers alone", "driver", "import docker"),
    ("Flask is used by APIs and the app alone", "store", "import flask"),
    ("marshmallow is used by schemas alone", "policy", "import marshmallow"),
]


def lint(directory: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run([program, "--no-cache"], cwd=directory, capture_output=True, text=True)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tree")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, directory / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", directory)
    return directory


def test_every_contract_is_broken_once_below() -> None:
    assert {contract for contract, _, _ in BREACHES} == set(CONTRACTS)


def test_the_tree_as_it_is_keeps_all_contracts(copy: Path) -> None:
    done = lint(copy)
    assert done.returncode == 0, done.stdout
    assert "warning" not in done.stdout.lower(), done.stdout


@pytest.mark.parametrize(("contract", "package", "statement"), BREACHES)
def test_a_breach_is_found(copy: Path, contract: str, package: str, statement: str) -> None:
    planted = copy / package / "planted.py"
    planted.write_text(f"{statement}\n")
    try:
        done = lint(copy)
    finally:
        planted.unlink()
    assert done.returncode == 1
    assert f"{contract} BROKEN" in done.stdout


def test_what_is_marked_pure_is_pure() -> None:
    """Files that say PURE in their first paragraph, wherever they lie: nothing they import, directly or not,
    does input, output or waiting."""
    marked = {
        ".".join(path.with_suffix("").parts)
        for path, tree in sources()
        if "PURE" in (ast.get_docstring(tree) or "").split("\n\n")[0]
    }
    assert marked
    graph = grimp.build_graph(*PACKAGES, include_external_packages=True)
    known = [name for name in PURE_FORBIDS if name in graph.modules]
    chains = {
        module: chain
        for module in sorted(marked)
        for forbidden in known
        if (chain := graph.find_shortest_chain(module, forbidden))
    }
    assert not chains
