"""Kernel headers for BCC. Any kernel's do, because the programs include UAPI headers only.

`python -m datapath.headers` prints the directory that would be taken; exit status 1 if there is none."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from model.errors import Unavailable

_ARCHITECTURES = {"x86_64": "x86", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class KernelHeaders:
    """`source` has include/linux; `build` what the kernel's build made. Debian keeps them apart,
    others have both in one directory."""

    source: Path
    build: Path

    def flags(self) -> list[str]:
        """What BCC does not add by itself where the two are apart."""
        made = (
            "include",
            "include/generated/uapi",
            f"arch/{_ARCHITECTURES[platform.machine()]}/include/generated",
            f"arch/{_ARCHITECTURES[platform.machine()]}/include/generated/uapi",
        )
        return [f"-I{self.build / directory}" for directory in made]


def find_headers(root: Path = Path("/")) -> KernelHeaders:
    """The running kernel's, else the newest that are installed."""
    for build in _candidates(root):
        headers = _complete(root, build)
        if headers:
            return headers
    raise Unavailable(
        "no kernel headers are installed, and no compiled programs are kept for this kernel",
        hint=f"apt-get install linux-headers-{platform.release()}, or linux-headers-amd64 or -generic; where none can "
        "be had, install from a folder in which `make prebuilt` was run on another machine",
    )


def _candidates(root: Path) -> Iterator[Path]:
    modules = root / "lib" / "modules"
    yield modules / platform.release() / "build"
    installed = [*modules.glob("*/build"), *(root / "usr" / "src").glob("linux-headers-*")]
    yield from sorted(installed, key=lambda path: _version(str(path)), reverse=True)


def _version(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def _complete(root: Path, build: Path) -> KernelHeaders | None:
    if not (build / "include" / "generated" / "autoconf.h").exists():
        return None
    if (build / "include" / "linux" / "kconfig.h").exists():
        return KernelHeaders(build, build)
    # Debian: the Makefile of the flavour includes that of the common part.
    makefile = (build / "Makefile").read_text() if (build / "Makefile").exists() else ""
    included = re.search(r"^include /?(\S+)/Makefile$", makefile, re.MULTILINE)
    if included and (root / included[1] / "include" / "linux" / "kconfig.h").exists():
        return KernelHeaders(root / included[1], build)
    return None


def main() -> int:
    try:
        print(find_headers().build)
    except Unavailable as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
