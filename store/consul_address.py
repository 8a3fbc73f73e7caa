"""Where the cluster's Consul is and who asks it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ConsulAddress:
    """`tls` without `ca`: the machine's own authorities. `token_file` goes before `token`, and is read again whenever
    it has changed."""

    host: str
    port: int
    tls: bool = False
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    token: str = ""
    token_file: Path | None = None

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"
