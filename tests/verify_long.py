"""`make verify-long`: the rules themselves, the twin of the lookup and the programs in the kernel, held against each
other for a million pairs of ends: at least 5,000 rule sets, 200 packets each and the answers to those that pass.

What fails is shrunk to the smallest rules that fail. Each part has a seed of its own; a run that was interrupted goes
on where it was, and after a whole one the next begins with another seed."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from secrets import randbits

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.kernel.proving import Proof, Story, World, prove, proving_ground, stories

PLACE = Path(__file__).parents[1] / "build" / "verify-long.json"
STORIES = 50
"""In a part: of two rule sets each, as a rule."""


@dataclass
class Run:
    seed: int
    parts: int = 0
    seconds: float = 0.0
    proof: Proof = field(default_factory=Proof)

    def keep(self) -> None:
        PLACE.parent.mkdir(parents=True, exist_ok=True)
        PLACE.write_text(json.dumps(asdict(self)))

    def __str__(self) -> str:
        proof = self.proof
        return (
            f"{proof.sets:,} rule sets, {proof.pairs:,} pairs, {proof.packets:,} packets, "
            f"{self.seconds:.0f} s, seed {self.seed}"
        )


def interrupted(wanted: int | None) -> Run:
    """The run that was not ended, if it is the one that is wanted."""
    try:
        kept = json.loads(PLACE.read_text())
        run = Run(kept["seed"], kept["parts"], kept["seconds"], Proof(**kept["proof"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Run(randbits(32) if wanted is None else wanted)
    return run if wanted in (None, run.seed) else Run(wanted)


def part(world: World, run: Run, packets: int) -> None:
    @seed((run.seed << 16) + run.parts)
    @settings(
        max_examples=STORIES,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(stories)
    def shown(story: Story) -> None:
        prove(world, story, run.proof, packets)

    shown()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.verify_long", description=__doc__)
    parser.add_argument("--sets", type=int, default=5000, help="of rules, at least (default: 5000)")
    parser.add_argument("--packets", type=int, default=200, help="for each set (default: 200)")
    parser.add_argument("--seed", type=int, help="to do the same again (default: any)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was made is taken away
    run = interrupted(options.seed)
    with tempfile.TemporaryDirectory() as directory, proving_ground(Path(directory)) as world:
        while run.proof.sets < options.sets:
            began = time.monotonic()
            try:
                part(world, run, options.packets)
            except AssertionError:
                print(f"disagreement in part {run.parts}, after {run}", flush=True)
                raise
            run.parts += 1
            run.seconds += time.monotonic() - began
            run.keep()
            print(f"  agree so far: {run}", flush=True)
    PLACE.unlink()
    print(f"rules, twin and kernel agree: {run}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted; the next run goes on from here")
