"""The shape of the repository, as far as a machine can see it."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

PACKAGES = sorted(PROJECT["tool"]["setuptools"]["packages"])

NOT_SHIPPED = {"bench"}
"""Importable, but no part of the program."""

LONGEST = 600
"""Lines of a file; more ask to be split by concern."""


def tracked() -> list[Path]:
    """Every file of the repository, new ones included."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def sources() -> Iterator[tuple[Path, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path.relative_to(ROOT), ast.parse(path.read_text())


def test_every_folder_with_an_init_is_a_declared_package_and_the_other_way_round() -> None:
    folders = sorted({path.parent.name for path in ROOT.glob("*/__init__.py")} - NOT_SHIPPED)
    assert folders == PACKAGES
    assert sorted(PROJECT["tool"]["mypy"]["packages"]) == PACKAGES
    linted = PROJECT["tool"]["importlinter"]
    assert sorted(linted["root_packages"]) == PACKAGES
    layers = next(contract["layers"] for contract in linted["contracts"] if contract["type"] == "layers")
    assert sorted(name.strip() for layer in layers for name in layer.split("|")) == PACKAGES


def test_packaging_is_no_package() -> None:
    """It would shadow the distribution of that name, which pytest and pip import."""
    assert not list((ROOT / "packaging").rglob("__init__.py"))


def test_no_file_is_longer_than_anyone_wants_to_read() -> None:
    code = [path for path in tracked() if path.suffix in {".py", ".c", ".h", ".sh"}]
    long = {
        str(path.relative_to(ROOT)): n for path in code if (n := len(path.read_text().splitlines())) > LONGEST
    }
    assert not long


@pytest.mark.parametrize("name", ["utils", "util", "helpers", "helper", "common", "misc", "manager"])
def test_no_file_is_named_for_nothing(name: str) -> None:
    assert not [path for path in tracked() if path.stem == name or path.parent.name == name]


def test_nothing_points_at_one_machine_or_at_unfinished_work() -> None:
    somewhere = re.compile(
        r"(?<![\w.~}/-])/(?:home|Users|work|mnt)/\w|https?://(?!localhost|[\w.-]*example)\S*:\d+/\w"
    )
    unfinished = re.compile(r"\b(?:TODO|FIXME|XXX)\b|NotImplementedError")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in tracked()
        if path != Path(__file__)
        and path.suffix in {".py", ".c", ".h", ".sh", ".md", ".toml", ".service", ".env", ""}
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if somewhere.search(line) or unfinished.search(line)
    ]
    assert not found


def test_the_environment_is_read_in_one_place() -> None:
    readers = {
        str(path)
        for path, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}
        if isinstance(node.value, ast.Name) and node.value.id == "os"
    }
    assert readers == {"agent/settings.py"}


def test_importing_any_module_does_nothing() -> None:
    """No socket, thread, process or written file comes of an import of ours. What a library does while it is imported
    is its own affair."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("import_all.py")), str(ROOT), *PACKAGES],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_wheel_holds_every_module_the_sources_of_the_programs_and_what_was_compiled_of_them(
    tmp_path: Path,
) -> None:
    copy = tmp_path / "source"
    copy.mkdir()
    for package in PACKAGES:
        unwanted = shutil.ignore_patterns("__pycache__", "prebuilt")
        shutil.copytree(ROOT / package, copy / package, ignore=unwanted)
    (copy / "datapath/prebuilt").mkdir()
    (copy / "datapath/prebuilt/compiled.bpf").touch()
    shutil.copy(ROOT / "pyproject.toml", copy)
    shutil.copy(ROOT / "README.md", copy)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
    ]
    subprocess.run([*command, str(copy)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.suffix in {".py", ".c", ".h"}
    }
    assert held == expected | {"datapath/prebuilt/compiled.bpf"}
