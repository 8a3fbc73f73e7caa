"""The form of a benchmark's results, on the screen and in build/bench."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

DIRECTORY = Path(__file__).parents[1] / "build" / "bench"


@dataclass(frozen=True, slots=True)
class Result:
    """`ratio`: value / peer_value. `runs`: how many pairs of measurements both are the medians of."""

    metric: str
    value: float
    unit: str
    peer: str
    peer_value: float
    ratio: float
    runs: int


def write(name: str, results: Sequence[Result]) -> None:
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    path = DIRECTORY / f"{name}.json"
    path.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")
    for result in results:
        print(
            f"{result.metric:32} {result.value:10.1f} {result.unit:10} "
            f"{result.peer} {result.peer_value:.1f}   ratio {result.ratio:.2f}   {result.runs} runs"
        )
    print(path)
