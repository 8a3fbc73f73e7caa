"""Numbers of networks that span hosts: the same id is the same number on every node.

The number of an id is never another's again: addresses that a node remembers by it may be older than any network."""

from __future__ import annotations

from model.errors import Conflict, Exhausted, Unavailable
from model.network import FIRST_NUMBER, LOCAL_FIRST_NUMBER
from store.keys import NUMBER, Keys
from store.kv import KeyValueStore, Set

_ATTEMPTS = 64


class NetworkNumbers:
    """Thread-safe as the store is. Every method may raise Unavailable."""

    def __init__(self, store: KeyValueStore, keys: Keys) -> None:
        self._store = store
        self._keys = keys

    def number(self, network: str) -> int:
        """Of the network of this id, given now if it has none. Raises Exhausted."""
        for _ in range(_ATTEMPTS):
            entry = self._store.get(self._keys.network(network))
            if entry is not None:
                return NUMBER.decode(entry)
            last = self._store.get(self._keys.lock("networks"))
            number = FIRST_NUMBER if last is None else NUMBER.decode(last) + 1
            if number >= LOCAL_FIRST_NUMBER:
                raise Exhausted("no number is left for a network that spans hosts")
            value = NUMBER.encode(number)
            try:
                self._store.transact(
                    [
                        Set(self._keys.lock("networks"), value, index=0 if last is None else last.index),
                        Set(self._keys.network(network), value, index=0),
                    ]
                )
            except Conflict:
                continue
            return number
        raise Unavailable(
            f"network {network} got no number in {_ATTEMPTS} attempts",
            hint="try again: many nodes make networks at once",
        )
