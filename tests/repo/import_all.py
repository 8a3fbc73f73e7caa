"""import_all.py ROOT PACKAGE...: imports every module of the packages and fails if one of them did more than
define things. Run as a process of its own, because imports happen once."""

from __future__ import annotations

import importlib
import sys
import sysconfig
from pathlib import Path
from typing import Any

ACTIONS = (
    "socket.",
    "subprocess.",
    "os.fork",
    "os.exec",
    "os.posix_spawn",
    "_thread.start",
    "os.mkdir",
    "os.remove",
)


def main() -> int:
    root, packages = Path(sys.argv[1]), sys.argv[2:]
    sys.path.insert(0, str(root))
    standard = (sysconfig.get_path("stdlib"), "<frozen")
    libraries = ("site-packages", "dist-packages")
    found: list[str] = []

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
        if not writes and not event.startswith(ACTIONS):
            return
        frame = sys._getframe(1)
        # The innermost frame that is not the standard library's: who wanted it.
        while frame is not None and (
            frame.f_code.co_filename.startswith(standard)
            and not any(library in frame.f_code.co_filename for library in libraries)
        ):
            frame = frame.f_back  # type: ignore[assignment]
        if frame is not None and Path(frame.f_code.co_filename).is_relative_to(root):
            here = Path(frame.f_code.co_filename).relative_to(root)
            if here.parts[0] in packages:
                found.append(f"{here}:{frame.f_lineno}: {event}")

    sys.addaudithook(watch)
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            module = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
            importlib.import_module(module)
    print("\n".join(found))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
