"""`python -m datapath.loader`: put maps and programs into the kernel, and go.

A short-lived process, so that the compiler (150 MB) never lives in the agent, and the only place
that imports bcc, and only if nothing is cached. On success one line of JSON on stdout; else exit status
1 and, as the last line of stderr, what is wrong and what to do.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from datapath import syscall
from datapath.attributes import ProgramType
from datapath.compile import (
    PREBUILT,
    SOURCES,
    Compiler,
    Programs,
    build,
    cache_key,
    read_cached,
    relocate,
    write_cached,
)
from datapath.features import Features, every_build, probe
from datapath.headers import KernelHeaders, find_headers
from datapath.maps import sized
from datapath.pins import open_or_create_maps, pin_program, prepare
from model.errors import CiliateError, InvalidInput, Unavailable


@dataclass(frozen=True, slots=True)
class Loaded:
    compiled: bool
    features: Features


def load(
    root: Path,
    cache: Path,
    sizes: Mapping[str, int],
    *,
    sources: Path = SOURCES,
    prebuilt: Path = PREBUILT,
) -> Loaded:
    """Make sure that the maps are pinned below `root`, and pin programs of the present sources in
    place of older ones. Maps that exist are kept with all they hold. Nothing is pinned unless every
    program has passed the verifier."""
    specs = sized(sizes)
    features = probe()
    programs, compiled = obtain(cache, features, sources=sources, prebuilt=prebuilt)
    prepare(root)
    with ExitStack() as opened:
        descriptors, _ = open_or_create_maps(root, specs)
        for fd in descriptors.values():
            opened.callback(os.close, fd)
        loaded = {}
        for name, code in programs.items():
            loaded[name] = _verify(name, relocate(code, descriptors))
            opened.callback(os.close, loaded[name])
        for name, fd in loaded.items():
            pin_program(root, name, fd)
    return Loaded(compiled, features)


def obtain(
    cache: Path, features: Features, *, sources: Path = SOURCES, prebuilt: Path = PREBUILT
) -> tuple[Programs, bool]:
    """The programs for a kernel with these features, and whether they had to be compiled."""
    key = cache_key(sources, features.flags())
    programs = read_cached(cache, key) or read_cached(prebuilt, key)
    if programs is not None:
        return programs, False
    programs = build(sources, features.flags(), partial(compile_with_bcc, find_headers()))
    write_cached(cache, key, programs)
    return programs, True


def prebuild(directory: Path, *, sources: Path = SOURCES) -> int:
    """Have programs for every kind of kernel in `directory`, and none of other sources; how many had to be
    compiled. Where all are there, neither headers nor a compiler are needed."""
    builds = {cache_key(sources, features.flags()): features.flags() for features in every_build()}
    missing = [key for key in builds if read_cached(directory, key) is None]
    if missing:
        compiler: Compiler = partial(compile_with_bcc, find_headers())
        for key in missing:
            write_cached(directory, key, build(sources, builds[key], compiler))
    for file in directory.glob("*.bpf"):
        if file.stem not in builds:
            file.unlink()
    return len(missing)


def _verify(name: str, code: bytes) -> int:
    try:
        return syscall.load_program(ProgramType.SCHED_CLS, code, name=name)
    except OSError as error:
        print(error.strerror, file=sys.stderr)
        raise Unavailable(
            f"the kernel refuses program {name}: {os.strerror(error.errno or 0)}",
            hint="the verifier's words are above; please report them with `uname -r`",
        ) from error


def compile_with_bcc(headers: KernelHeaders, source: Path, flags: Sequence[str]) -> Programs:
    """Every function of a C file as instructions, by BCC."""
    # BCC reads its kernel's place from the environment of the process, not from an argument.
    os.putenv("BCC_KERNEL_SOURCE", str(headers.source))
    try:
        from bcc import BPF, lib
    except ImportError as error:
        raise Unavailable("BCC is not installed", hint="apt-get install python3-bpfcc") from error
    from ctypes import string_at

    with _captured_stderr() as said:
        try:
            module = BPF(text=source.read_bytes(), cflags=[*flags, *headers.flags()]).module
        except Exception as error:  # BCC raises nothing more specific
            text = said()
            print(text, file=sys.stderr)
            first = next((line for line in text.splitlines() if "error:" in line), str(error))
            raise Unavailable(f"cannot compile {source.name}: {first}", hint="reinstall ciliate") from error
    names = [lib.bpf_function_name(module, index) for index in range(lib.bpf_num_functions(module))]
    return {
        name.decode(): string_at(lib.bpf_function_start(module, name), lib.bpf_function_size(module, name))
        for name in names
    }


@contextmanager
def _captured_stderr() -> Iterator[partial[str]]:
    """Clang writes to the process's standard error; inside the block it goes to a file that can be
    read through what this yields."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:

        def read() -> str:
            file.seek(0)
            return file.read().decode(errors="replace")

        os.dup2(file.fileno(), 2)
        try:
            yield partial(read)
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _size(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not number.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=ENTRIES")
    return name, int(number)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m datapath.loader", description=__doc__)
    parser.add_argument("--root", type=Path, help="directory of the BPF file system to pin in")
    parser.add_argument("--cache", type=Path, help="directory that keeps compiled programs")
    parser.add_argument("--size", type=_size, action="append", default=[], metavar="NAME=ENTRIES")
    parser.add_argument(
        "--prebuild",
        type=Path,
        nargs="?",
        const=PREBUILT,
        metavar="DIRECTORY",
        help="only compile, for all kernels; beside this file unless it says where",
    )
    options = parser.parse_args(arguments)
    begin = time.monotonic()
    try:
        if options.prebuild:
            report: dict[str, object] = {"compiled": prebuild(options.prebuild)}
        elif options.root and options.cache:
            loaded = load(options.root.absolute(), options.cache, dict(options.size))
            report = {"compiled": loaded.compiled, "features": loaded.features.as_dict()}
        else:
            raise InvalidInput("nothing to do", hint="give --root and --cache, or --prebuild")
    except (CiliateError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps({**report, "seconds": round(time.monotonic() - begin, 3)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
