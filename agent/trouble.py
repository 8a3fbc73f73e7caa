"""What keeps this node from being one of the cluster, for the log."""

from __future__ import annotations

from typing import Any

from model.errors import CiliateError
from store.kv import KeyValueStore


def log_trouble(log: Any, event: str, error: Exception, store: KeyValueStore) -> None:
    """To be called where `error` is handled. A store that is away has said so itself."""
    if store.health().problem:
        return
    if isinstance(error, CiliateError):
        log.warning(event, error=str(error))
    else:
        log.exception(event)
