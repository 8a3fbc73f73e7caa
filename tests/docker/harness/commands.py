"""What came of a command, and the error that shows all of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Result:
    command: tuple[str, ...]
    status: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"{' '.join(self.command)}\n  status {self.status}\n  out: {self.out}\n  err: {self.err}"

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


class CommandFailed(AssertionError):
    def __init__(self, result: Result) -> None:
        super().__init__(str(result))
        self.result = result
