"""`python -m agent.verify_run`: one verification, in a process of its own that ends with it, so that neither what it
reads nor a compiler that it may need stays in the agent.

The agent hands it facts and a request on stdin and takes the report from stdout, both pickled: both ends are this
program, and the pipe is theirs alone. Else exit status 1 and, on stderr, what is wrong."""

from __future__ import annotations

import argparse
import os
import pickle
import sys
from pathlib import Path

from agent.verify_compare import Comparison
from datapath.dry import DryRun
from datapath.features import probe
from datapath.loader import obtain
from model.errors import CiliateError

NICENESS = 10
"""Containers and the agent go first."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m agent.verify_run", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="where the datapath is pinned")
    parser.add_argument("--cache", type=Path, required=True, help="directory of compiled programs")
    options = parser.parse_args()
    os.nice(NICENESS)
    facts, request = pickle.load(sys.stdin.buffer)
    try:
        programs, _ = obtain(options.cache, probe())
        with DryRun(options.root, programs) as dry:
            report = Comparison(facts, dry).run(request)
    except (CiliateError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    pickle.dump(report, sys.stdout.buffer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
