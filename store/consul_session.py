"""The node's session in Consul, kept alive by a thread, and the fence that it makes for the node's writes.

The session holds one key, `sessions/<node>`. Every transaction demands that key's index: so it fails when the session
has ended, and when the key was set again in the meantime, which is how a transaction whose answer was lost is kept
from being carried out late. An agent that comes back within the same boot of its host goes on with the session that it
finds there, so that its keys never vanish; what an earlier process had under way is fenced off then."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import structlog
from consul.exceptions import NotFound

from model.errors import Unavailable
from store.codec import Codec
from store.consul_http import Api, BrokenOff, Client, Unanswered, Unreached, decoded
from store.consul_ops import Fence, Row, check, entry, lock, row
from store.kv import Health

log = structlog.get_logger("store")

TTL_SECONDS = 30
"""Consul ends a session one to two of these after its last renewal."""

_TURN_SECONDS = 5.0
"""The held key is watched for so long at a time, and the session renewed at every second turn."""

_PAUSES = 0.1, 2.0
"""First and longest seconds between attempts while Consul does not answer; each is drawn at random below that."""

_BOOT: Codec[str] = Codec(lambda boot: {"boot": boot}, lambda members: str(members["boot"]))
"""Of sessions/<node>: the boot of the host that the session belongs to."""


class NodeSession:
    """`boot`: what tells this boot of this host from every other. `recovered` is called when Consul answers again."""

    def __init__(self, client: Client, key: str, node: str, boot: str, recovered: Callable[[], None]) -> None:
        self._client = client
        self._api = Api(client)
        self._key = key
        self._node = node
        self._boot = boot
        self._value = _BOOT.encode(boot)
        self._recovered = recovered
        self._line = client.line()
        self._guard = threading.Lock()
        """Guards the facts below; never held while Consul is asked."""
        self._id = ""
        self._index = 0
        """Of the held key; 0: to be held anew before anything is written."""
        self._overwritten: deque[tuple[int, int]] = deque(maxlen=256)
        """Number and index of the transactions that had set the held key when it was taken anew."""
        self._number = 0
        self._problem = ""
        self._down = False
        self._since = time.monotonic()
        self._renewed = 0.0
        self._asking = threading.Lock()
        """Held by whoever takes the key."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="consul-session", daemon=True)
        self._thread.start()

    def health(self) -> Health:
        with self._guard:
            return Health(self._number, self._problem, self._since)

    def must_answer(self) -> None:
        """Raises at once what the last attempt to reach Consul has raised: nobody waits for a store known to be
        away."""
        with self._guard:
            if self._down:
                raise Unreached(
                    self._problem, hint="what is known stays in force; the agent tries again by itself"
                )

    def fence(self, seconds: float) -> Fence:
        """What a transaction must demand. Waits up to `seconds` for a session. Raises Unavailable."""
        self.must_answer()
        with self._guard:
            if self._index:
                return self._fence(self._id, self._index)
        if not self._asking.acquire(timeout=max(seconds, 0)):
            raise Unreached("Consul gives no session in time")
        try:
            return self._hold()
        except _Taken as error:
            raise Unreached(error.message) from error
        except (Unreached, Unanswered) as error:
            self._failed(error)
            self._line.break_off()
            raise Unreached(error.message, hint=error.hint) from error
        except Unavailable as error:
            self._failed(error)
            raise
        finally:
            self._asking.release()

    def doubt(self, fence: Fence) -> None:
        """Something sent behind this fence has not been answered, or did not find it so: it must be made anew."""
        self.move(fence, 0)
        self._line.break_off()

    def move(self, fence: Fence, index: int) -> None:
        """A transaction set the held key itself."""
        with self._guard:
            if self._index == fence.index:
                self._index = index

    def overwritten(self, number: int) -> int | None:
        """The index of this transaction, if it was the last to set the key before the fence was made anew."""
        with self._guard:
            return dict(self._overwritten).get(number)

    def stop(self) -> None:
        """The session is left to lapse: the containers outlive the agent, and it may come back."""
        self._stopping.set()
        self._line.break_off()
        self._thread.join()
        self._line.close()

    def _keep(self) -> None:
        limit = _PAUSES[0]
        while not self._stopping.is_set():
            try:
                self._turn()
            except BrokenOff:
                continue
            except Unavailable as error:
                self._failed(error)
                self._stopping.wait(random.uniform(0, limit))
                limit = min(2 * limit, _PAUSES[1])
            except Exception as error:  # what we did not think of must not end the session
                log.exception("the session with Consul is in trouble")
                self._failed(Unavailable(f"Consul says what is not understood: {error!r}"))
                self._stopping.wait(_PAUSES[1])
            else:
                limit = _PAUSES[0]
                self._well()

    def _turn(self) -> None:
        with self._guard:
            session, index, well = self._id, self._index, not self._problem
        if not index:
            with self._asking:
                self._hold()
            return
        found = self._held(index if well else 0)
        with self._guard:
            if found is None or found[1] != session:
                self._index = 0
            elif self._index == index:
                self._index = found[0][1]
        if time.monotonic() - self._renewed > 1.5 * _TURN_SECONDS and not self._renew(session):
            self.move(self._fence(session, index), 0)

    def _hold(self) -> Fence:
        """Takes the key, with the session that there is or a new one. The caller holds `_asking`."""
        with self._guard:
            session, index = self._id, self._index
        if index:
            return self._fence(session, index)
        found = self._held(0)
        if found is not None and found[1] and found[1] != session:
            if _BOOT.decode(entry(found[0])) != self._boot:
                raise Unavailable(
                    f"another agent is node {self._node} in Consul, or this host's before it was started again",
                    hint=f"give each node its own CILIATE_NODE; a session ends {2 * TTL_SECONDS} s after its agent",
                )
            session = found[1]
        if not session or not self._renew(session):
            session = self._create()
        number = random.getrandbits(53)
        before = 0 if found is None else found[0][1]
        verbs = [check(self._key, before), lock(self._key, self._value, session, number)]
        answer = self._client.send("PUT", "/v1/txn", body=json.dumps(verbs))
        if answer.code != 200:
            raise _Taken(f"Consul does not give the key {self._key} to this node: {answer.body.decode()}")
        index = int(decoded(answer)["Results"][-1]["KV"]["ModifyIndex"])
        with self._guard:
            if session != self._id:
                self._id = session
                self._number += 1
                log.info("this node has a session in Consul", session=session, number=self._number)
            self._index = index
            if found is not None:
                self._overwritten.append((found[0][2], before))
        self._well()
        return self._fence(session, index)

    def _fence(self, session: str, index: int) -> Fence:
        return Fence(session, self._key, index, self._value)

    def _create(self) -> str:
        # No checks: a session that hung on the Consul agent's health would end with that agent.
        made = self._api.session.create(
            name=f"ciliate {self._node}", checks=[], lock_delay=0, behavior="delete", ttl=TTL_SECONDS
        )
        self._renewed = time.monotonic()
        return str(made)

    def _renew(self, session: str) -> bool:
        try:
            self._api.session.renew(session)
        except NotFound:
            return False
        self._renewed = time.monotonic()
        return True

    def _held(self, index: int) -> tuple[Row, str] | None:
        """The key and the session that holds it; waits until its index is another, if one is given."""
        params: list[tuple[str, Any]] = [("consistent", "")]
        if index:
            params = [("index", index), ("wait", f"{_TURN_SECONDS:g}s")]
        line = self._line if index else None
        answer = self._client.send("GET", f"/v1/kv/{self._key}", params, line=line, seconds=_seconds(index))
        if answer.code == 404:
            return None
        members = decoded(answer)[0]
        return row(members), members.get("Session", "")

    def _failed(self, error: Unavailable) -> None:
        with self._guard:
            if not self._problem:
                self._since = time.monotonic()
                log.warning("Consul cannot be used", error=str(error))
            self._problem = error.message
            self._down = isinstance(error, Unreached | Unanswered)

    def _well(self) -> None:
        with self._guard:
            before, self._problem, self._down = self._problem, "", False
            if before:
                self._since = time.monotonic()
        if before:
            log.info("Consul can be used")
            self._recovered()


class _Taken(Unavailable):
    """Somebody else, or an earlier write of our own, came in between."""


def _seconds(index: int) -> float:
    """A query that waits answers up to a sixteenth later than asked."""
    return _TURN_SECONDS * 17 / 16 + 2 if index else 3.0
