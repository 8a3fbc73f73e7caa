"""What happened to each endpoint, for `ciliate endpoint log`: the last lines of each, in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from datetime import UTC, datetime

LINES = 50
ENDPOINTS = 2048


class Journal:
    """Forgets the endpoints that were written of longest ago."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: OrderedDict[str, deque[tuple[datetime, str]]] = OrderedDict()

    def write(self, docker_id: str, text: str) -> None:
        with self._lock:
            lines = self._lines.setdefault(docker_id, deque(maxlen=LINES))
            lines.append((datetime.now(UTC), text))
            self._lines.move_to_end(docker_id)
            if len(self._lines) > ENDPOINTS:
                self._lines.popitem(last=False)

    def forget(self, docker_id: str) -> None:
        with self._lock:
            self._lines.pop(docker_id, None)

    def lines(self, docker_id: str) -> list[dict[str, str]]:
        with self._lock:
            lines = list(self._lines.get(docker_id, ()))
        return [{"time": moment.isoformat(timespec="milliseconds"), "text": text} for moment, text in lines]
