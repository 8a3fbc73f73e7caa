"""What is below a prefix, as Consul tells it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from consul.base import Response

from store.consul_http import Client, Line
from store.consul_ops import Row, row

LIST_SECONDS = 10.0
"""For all that is below a prefix to come, once it begins to."""


class Tree:
    """`own`: the key that is no entry of the store."""

    def __init__(self, client: Client, own: str) -> None:
        self._client = client
        self._own = own

    def line(self) -> Line:
        return self._client.line()

    def begin(self, line: Line, prefix: str, index: int, wait: float) -> None:
        """Asks for what is there as soon as the prefix has another index than this, or after `wait` seconds."""
        params: list[tuple[str, Any]] = [("recurse", "")]
        if index:
            params += [("index", index), ("wait", f"{wait:g}s")]
        self._client.begin(line, f"/v1/kv/{prefix}", params)

    def finish(self, line: Line, prefix: str) -> tuple[int, Sequence[Row]]:
        """The prefix's index and all below it."""
        answer = self._client.finish(line, f"/v1/kv/{prefix}", LIST_SECONDS)
        rows = self.rows(prefix, answer)
        return max(1, int(answer.headers["X-Consul-Index"])), rows

    def rows(self, prefix: str, answer: Response) -> Sequence[Row]:
        rows: Sequence[Row] = [] if answer.code == 404 else json.loads(answer.body, object_hook=row)
        if not rows and prefix:
            # Consul leaves out what the token may not read, and says nothing: that must not look like an empty store.
            self._client.send("GET", f"/v1/kv/{prefix}")
        if self._own.startswith(prefix):
            return [found for found in rows if found[0] != self._own]
        return rows
