"""From C sources to instructions that wait for their maps, compiled once and kept in a file.

Programs are compiled against file descriptors that do not exist; `relocate` puts the real ones in
their place. So one compilation serves every start, and, because only UAPI headers are included,
every kernel with the same features: `make prebuilt`, and each installation, compile for all of them
into `datapath/prebuilt`.
"""

from __future__ import annotations

import json
import os
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from datapath.abi import ABI_VERSION
from datapath.instruction import map_references
from datapath.maps import MAPS
from model.errors import Unavailable

SOURCES = Path(__file__).parent / "bpf"
PREBUILT = Path(__file__).parent / "prebuilt"

PROGRAMS = {
    "from_container": "container.c",
    "to_container": "container.c",
    "from_overlay": "overlay.c",
    "to_overlay": "overlay.c",
}
"""Every program and the file that has its function of the same name."""

FAKE_FDS = {name: 0x5A000 + number for number, name in enumerate(sorted(MAPS))}
"""What stands for each map in compiled programs: no process has that many files open."""

Programs = Mapping[str, bytes]
"""Instructions by program name."""

Compiler = Callable[[Path, Sequence[str]], Programs]
"""(C file, compiler flags) -> instructions of every function in it."""


def cache_key(sources: Path, flags: Iterable[str]) -> str:
    """Changes with everything that the instructions depend on: all files beside the programs, flags,
    which maps and programs there are, and the ABI."""
    files = {path.name: path.read_text() for path in sorted(sources.glob("*.[ch]"))}
    facts = [ABI_VERSION, sorted(flags), FAKE_FDS, PROGRAMS, files]
    return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def read_cached(directory: Path, key: str) -> Programs | None:
    """None if the file is missing or damaged: then there is something to compile."""
    try:
        digest, _, content = (directory / f"{key}.bpf").read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None
    if digest != sha256(content).hexdigest().encode():
        return None
    return {name: b64decode(text) for name, text in json.loads(content).items()}


def write_cached(directory: Path, key: str, programs: Programs) -> None:
    content = json.dumps({name: b64encode(code).decode() for name, code in programs.items()}).encode()
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    unfinished = directory / f"{key}.{os.getpid()}"
    unfinished.write_bytes(sha256(content).hexdigest().encode() + b"\n" + content)
    unfinished.rename(directory / f"{key}.bpf")


def build(sources: Path, flags: Sequence[str], compiler: Compiler) -> Programs:
    """Compile all programs; Unavailable if a source lacks one of them."""
    arguments = [*flags, f"-I{sources}", *(f"-DMAP_FD_{name}={fd}" for name, fd in FAKE_FDS.items())]
    compiled = {file: compiler(sources / file, arguments) for file in sorted(set(PROGRAMS.values()))}
    for name, file in PROGRAMS.items():
        if name not in compiled[file]:
            raise Unavailable(f"{file} has no function {name}", hint="reinstall ciliate")
    return {name: compiled[file][name] for name, file in PROGRAMS.items()}


def relocate(program: bytes, descriptors: Mapping[str, int]) -> bytes:
    """The program with the descriptors of real maps."""
    names = {fd: name for name, fd in FAKE_FDS.items()}
    relocated = bytearray(program)
    for position, fake in map_references(program):
        if fake not in names:
            raise Unavailable(f"a program uses a map that is none of ciliate's ({fake:#x})")
        relocated[position : position + 4] = descriptors[names[fake]].to_bytes(4, sys.byteorder)
    return bytes(relocated)
