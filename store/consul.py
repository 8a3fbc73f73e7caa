"""The store that the nodes of a cluster share: Consul's key-value store.

What is asked again when there is no answer: reading, always. A transaction, when it has surely not been carried out:
Consul was not reached, had no leader, or found another fence. One whose answer was lost is looked up behind a new
fence, where it can no longer be carried out late: it has been, and is answered so, or it is sent again. Where the
fence cannot be made in time, Unavailable says that it is not known; the fence is then made before anything else is
written. So nothing is done twice, and nothing old comes after what is newer."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar
from weakref import WeakSet

from consul.base import Response

from model.errors import Conflict, Forbidden, InvalidInput, Unavailable
from store.consul_address import ConsulAddress
from store.consul_http import RIGHTS, Client, Unanswered, Unreached, decoded
from store.consul_ops import Fence, Verb, entry, fenced, lock, row, spelled
from store.consul_session import NodeSession
from store.consul_tree import LIST_SECONDS, Tree
from store.consul_watch import ConsulWatch
from store.kv import MAX_TRANSACTION, DeletePrefix, Entry, Health, Op, Set, Watch, conflict_text, validate

CALL_SECONDS = 4.5
"""For a whole call: Docker, which has no time-out of its own, is answered within five."""

_PAUSE_SECONDS = 0.2

T = TypeVar("T")


class ConsulStore:
    """store.kv.KeyValueStore. Does not wait for Consul to come up: calls raise Unavailable until it answers."""

    def __init__(self, address: ConsulAddress, node: str, session_key: str, boot: str) -> None:
        """`session_key`: the key that this node's session holds, which is not shown among the entries; `boot`: of
        NodeSession."""
        self._client = Client(address)
        self._closed = threading.Event()
        self._watches: WeakSet[ConsulWatch] = WeakSet()
        self._tree = Tree(self._client, session_key)
        self._session = NodeSession(self._client, session_key, node, boot, self._hurry_watches)

    def get(self, key: str) -> Entry | None:
        answer = self._read(lambda: self._client.send("GET", f"/v1/kv/{key}"))
        return None if answer.code == 404 else entry(row(decoded(answer)[0]))

    def list(self, prefix: str) -> list[Entry]:
        return [*self._read(lambda: self._whole(prefix))]

    def transact(self, ops: Sequence[Op], *, durable: bool = True, token: str = "") -> int:
        """`token`: of somebody who may write what this node may not. Such a transaction has no fence: where its
        answer is lost, Unavailable says so."""
        validate(ops)
        self._must_be_open()
        number = random.getrandbits(53)
        if sum(len(op.value) for op in ops if isinstance(op, Set)) > MAX_TRANSACTION:
            assert isinstance(ops[0], Set)
            if ops[0].session:
                raise InvalidInput(
                    f"{ops[0].key}: a value of {len(ops[0].value)} bytes is too large for a session's"
                )
            return self._put_large(ops[0], number, token)
        return self._unfenced(ops, number, token) if token else self._fenced(ops, number)

    def watch(self, prefix: str, since: int = 0) -> Watch:
        watch = ConsulWatch(self._tree, prefix, since, self._closed.is_set)
        self._watches.add(watch)
        return watch

    def health(self) -> Health:
        if self._closed.is_set():
            return Health(problem="the store is closed")
        return self._session.health()

    def close(self) -> None:
        if not self._closed.is_set():
            self._closed.set()
            for watch in list(self._watches):
                watch.close()
            self._session.stop()
            self._client.close()

    def _fenced(self, ops: Sequence[Op], number: int) -> int:
        self._session.must_answer()
        deadline = time.monotonic() + CALL_SECONDS
        lost: Fence | None = None
        while True:
            self._must_be_open()
            try:
                fence = self._session.fence(deadline - time.monotonic())
                if lost is not None and (index := self._done(ops, number, lost)) is not None:
                    return index
                lost = None
                return self._attempt(ops, number, fence)
            except _Moved:
                self._session.doubt(fence)
                reason: Unavailable = Unreached("other writes of this node got in between all the time")
            except Unreached as error:
                reason = error
            except Unanswered as error:
                if lost is None:
                    lost = fence
                    self._session.doubt(fence)
                reason = error
            except Unavailable as error:
                if lost is None:
                    raise
                raise _Unknown(error) from error
            if not self._pause(deadline):
                raise reason if lost is None else _Unknown(reason)

    def _attempt(self, ops: Sequence[Op], number: int, fence: Fence) -> int:
        verbs = spelled(ops, fence.session, number)
        leading = [fenced(fence)]
        if not any(isinstance(op, Set) for op in ops):
            # Removals leave nothing that carries their number: it is left on the fence.
            leading.append(lock(fence.key, fence.value, fence.session, number))
        answer = self._send([*leading, *(verb for _, verb in verbs)])
        if answer.code == 409:
            place, said = _first_error(answer)
            raise _Moved if place < len(leading) else self._refusal(verbs[place - len(leading)][0], said)
        index = _index_of(answer)
        if len(leading) > 1:
            self._session.move(fence, index)
        return index

    def _done(self, ops: Sequence[Op], number: int, before: Fence) -> int | None:
        """The index of a transaction that was sent behind `before` and can no longer be carried out, if it was."""
        keys = [op.key for op in ops if isinstance(op, Set)]
        if not keys:
            return self._session.overwritten(number)
        unclear = 0
        for key in keys:
            answer = self._client.send("GET", f"/v1/kv/{key}", [("consistent", "")])
            if answer.code == 404:
                continue
            _, index, found, _ = row(decoded(answer)[0])
            if found == number:
                return index
            unclear += index > before.index
        if unclear == len(keys):
            raise Unavailable(f"{keys[0]} was set by another writer since")
        return None

    def _unfenced(self, ops: Sequence[Op], number: int, token: str) -> int:
        verbs = spelled(ops, "", number)
        try:
            answer = self._send([verb for _, verb in verbs], token)
            if answer.code == 409:
                place, said = _first_error(answer)
                raise self._refusal(verbs[place][0], said)
            if any(isinstance(op, Set) for op in ops):
                return _index_of(answer)
            folder = _key_of(ops[0]).rpartition("/")[0]
            found = self._client.send("GET", f"/v1/kv/{folder}/", [("keys", ""), ("consistent", "")])
        except Unanswered as error:
            raise _Unknown(error) from error
        return int(found.headers["X-Consul-Index"])

    def _put_large(self, op: Set, number: int, token: str) -> int:
        """A value that fits into no transaction. The index that is demanded is its fence."""
        deadline = time.monotonic() + CALL_SECONDS
        sent = False
        while True:
            try:
                found = self._client.send("GET", f"/v1/kv/{op.key}", [("consistent", "")])
                _, index, known, _ = ("", 0, 0, "") if found.code == 404 else row(decoded(found)[0])
                if sent and known == number:
                    return index
                if op.index is not None and index != op.index:
                    raise Conflict(conflict_text(op.key, op.index, index))
                sent = True
                params = [("cas", index), ("flags", number)]
                self._client.send(
                    "PUT", f"/v1/kv/{op.key}", params, op.value, token=token, seconds=LIST_SECONDS
                )
                reason = Unavailable(f"{op.key} is set by others all the time")
            except (Unreached, Unanswered) as error:
                reason = error
            if time.monotonic() > deadline:
                raise _Unknown(reason) if sent else reason
            if not isinstance(reason, Unreached | Unanswered):
                continue
            self._pause(deadline)

    def _send(self, verbs: Sequence[Verb], token: str = "") -> Response:
        return self._client.send("PUT", "/v1/txn", body=json.dumps(verbs), token=token)

    def _refusal(self, op: Op, said: str) -> Conflict | Forbidden:
        key = _key_of(op)
        if "ermission denied" in said:
            return Forbidden(f"Consul refuses to write {key}: {said}", hint=RIGHTS)
        found = self.get(key)
        demanded = getattr(op, "index", None)
        if demanded is None:
            return Conflict(
                f"{key} belongs to another node", hint="it is free again when that node's session ends"
            )
        return Conflict(conflict_text(key, demanded, 0 if found is None else found.index))

    def _whole(self, prefix: str) -> Sequence[Entry]:
        answer = self._client.send("GET", f"/v1/kv/{prefix}", [("recurse", "")], seconds=LIST_SECONDS)
        return sorted(map(entry, self._tree.rows(prefix, answer)), key=lambda found: found.key)

    def _read(self, ask: Callable[[], T]) -> T:
        self._session.must_answer()
        deadline = time.monotonic() + CALL_SECONDS
        while True:
            self._must_be_open()
            try:
                return ask()
            except (Unreached, Unanswered):
                if not self._pause(deadline):
                    raise

    def _pause(self, deadline: float) -> bool:
        """False: there is no time for another attempt."""
        if time.monotonic() + _PAUSE_SECONDS > deadline:
            return False
        self._closed.wait(random.uniform(0, _PAUSE_SECONDS))
        return True

    def _must_be_open(self) -> None:
        if self._closed.is_set():
            raise Unavailable("the store is closed")

    def _hurry_watches(self) -> None:
        for watch in list(self._watches):
            watch.hurry()


class _Moved(Exception):
    """The fence is not what it was."""


class _Unknown(Unavailable):
    def __init__(self, error: Unavailable) -> None:
        message = f"it is not known whether this was stored: {error.message}"
        super().__init__(message, hint="look whether it was, before trying again")


def _first_error(answer: Response) -> tuple[int, str]:
    """The number of the first verb that failed, and what Consul says of it."""
    return min((int(error["OpIndex"]), str(error["What"])) for error in decoded(answer)["Errors"])


def _index_of(answer: Response) -> int:
    return max(int(result["KV"]["ModifyIndex"]) for result in decoded(answer)["Results"])


def _key_of(op: Op) -> str:
    return op.prefix if isinstance(op, DeletePrefix) else op.key
