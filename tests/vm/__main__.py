"""`python -m tests.vm KERNEL COMMAND`: run a bash command under a stock Debian kernel, and exit as it did.

Statuses of its own: 2 for wrong arguments, 125 if there was no machine, or it broke.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from tests.archive import CannotFetch
from tests.vm.boot import Broken, run
from tests.vm.fetch import fetch
from tests.vm.kernels import KERNELS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.vm", description=__doc__)
    parser.add_argument("kernel", choices=KERNELS)
    parser.add_argument("command")
    parser.add_argument("--folder", type=Path, help="what the command sees as /run/machine, and may write to")
    parser.add_argument("--timeout", type=float, default=3600, metavar="SECONDS")
    parser.add_argument("--memory", type=int, default=2048, metavar="MIB")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # what is made here goes
    with tempfile.TemporaryDirectory() as own:
        folder = options.folder or Path(own)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            return run(
                fetch(KERNELS[options.kernel]),
                options.command,
                folder=folder.absolute(),
                timeout=options.timeout,
                memory=options.memory,
            )
        except (Broken, CannotFetch) as broken:
            print(broken, file=sys.stderr)
            return 125


if __name__ == "__main__":
    sys.exit(main())
