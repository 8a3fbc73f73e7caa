"""PURE. What numbers and addresses are called: a bounded memory of the agent's answers.

Nothing here waits: a question either has an answer or is noted down as wanted, for observe/agent.py to ask.
Time is an argument, in seconds of any steady clock."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from typing import Any, Generic, TypeVar

from model.errors import InvalidInput
from model.flow import Direction, FlowEvent
from model.identity import Reserved, is_cluster
from model.labels import Labels
from model.network import IPAddress
from observe.flow import Flow, Peer

K = TypeVar("K")
V = TypeVar("V")

RESERVED_LABELS = {int(reserved): reserved.labels for reserved in Reserved}

NO_LABELS = Labels()


@dataclass(frozen=True, slots=True)
class _Answer(Generic[V]):
    """`value` None: the agent knows no such thing."""

    value: V | None
    ask_again: float


class Memory(Generic[K, V]):
    """The last `capacity` answers. One older than `fresh` seconds is used and asked for again; that something
    is unknown is believed for `absent` seconds only."""

    def __init__(self, capacity: int, *, fresh: float, absent: float) -> None:
        self._capacity = capacity
        self._fresh = fresh
        self._absent = absent
        self._answers: OrderedDict[K, _Answer[V]] = OrderedDict()
        self.wanted: dict[K, None] = {}

    def look(self, key: K, now: float) -> tuple[bool, V | None]:
        """Whether there is an answer, and the answer."""
        answer = self._answers.get(key)
        if answer is None:
            self._want(key)
            return False, None
        self._answers.move_to_end(key)
        if now >= answer.ask_again:
            self._want(key)
            return answer.value is not None, answer.value
        return True, answer.value

    def _want(self, key: K) -> None:
        if len(self.wanted) < self._capacity:
            self.wanted[key] = None

    def learn(self, key: K, value: V | None, now: float) -> None:
        self.wanted.pop(key, None)
        self._answers[key] = _Answer(value, now + (self._absent if value is None else self._fresh))
        self._answers.move_to_end(key)
        if len(self._answers) > self._capacity:
            self._answers.popitem(last=False)

    def __len__(self) -> int:
        return len(self._answers)


class Kind(StrEnum):
    IDENTITY = "identity"
    ENDPOINT = "endpoint"
    ADDRESS = "address"


@dataclass(frozen=True, slots=True)
class Question:
    """Something the agent should be asked: GET /v1/`path`. `key` is a number; of an address, the address and the
    identity that it had."""

    kind: Kind
    key: Any

    @property
    def path(self) -> str:
        if self.kind is Kind.ADDRESS:
            address, _ = self.key
            return f"endpoint/ipv{address.version}:{address}"
        return f"{self.kind}/{self.key}"


class Names:
    """Labels of identities, names of the containers behind endpoint numbers and addresses. A name belongs to an
    address with an identity: an address that has gone to another container is not called by the name of before."""

    def __init__(self, capacity: int = 4096) -> None:
        self.identities: Memory[int, Labels] = Memory(capacity, fresh=60.0, absent=1.0)
        self.endpoints: Memory[int, str] = Memory(capacity, fresh=5.0, absent=1.0)
        self.addresses: Memory[tuple[IPAddress, int], str] = Memory(capacity, fresh=5.0, absent=1.0)

    def wanted(self) -> Question | None:
        """The next question, identities first."""
        for kind, memory in (
            (Kind.IDENTITY, self.identities),
            (Kind.ENDPOINT, self.endpoints),
            (Kind.ADDRESS, self.addresses),
        ):
            for key in memory.wanted:
                return Question(kind, key)
        return None

    def forget_wanted(self) -> None:
        for memory in (self.identities, self.endpoints, self.addresses):
            memory.wanted.clear()

    def learn(self, question: Question, answer: Any, now: float) -> None:
        """`answer`: what the agent said (an identity or an endpoint as its API writes them), None if there is
        no such thing. Raises ValueError if it has another shape."""
        try:
            self._learn(question, answer, now)
        except (AttributeError, LookupError, TypeError, ValueError, InvalidInput) as error:
            raise ValueError(f"the answer to {question.path} is not understood: {error!r}") from error

    def _learn(self, question: Question, answer: Any, now: float) -> None:
        key = question.key
        if question.kind is Kind.IDENTITY:
            self.identities.learn(key, None if answer is None else Labels.parse(answer["labels"]), now)
        else:
            if answer is not None:
                self._learn_endpoint(answer, now)
            memory: Memory[Any, str] = self.endpoints if question.kind is Kind.ENDPOINT else self.addresses
            if key in memory.wanted:  # there is none, or the address is another's by now
                memory.learn(key, None, now)

    def _learn_endpoint(self, endpoint: Mapping[str, Any], now: float) -> None:
        """One endpoint answers for its number and its addresses."""
        name, identity = str(endpoint["container_name"]), int(endpoint["identity"])
        self.endpoints.learn(int(endpoint["id"]), name, now)
        for text in (endpoint["ipv4"], endpoint["ipv6"]):
            if text:
                self.addresses.learn((ip_address(text), identity), name, now)

    def flow(self, event: FlowEvent, time_ns: int, now: float) -> tuple[bool, Flow]:
        """The flow of this event, and whether all that it needs is known. What is not stays empty."""
        judged_source = event.direction is Direction.EGRESS and event.endpoint
        judged_destination = event.direction is Direction.INGRESS and event.endpoint
        known, source = self._peer(event.source, event.source_port, event.source_identity, judged_source, now)
        known_too, destination = self._peer(
            event.destination, event.destination_port, event.destination_identity, judged_destination, now
        )
        return known and known_too, Flow(time_ns, event, source, destination)

    def _peer(self, ip: IPAddress, port: int, identity: int, endpoint: int, now: float) -> tuple[bool, Peer]:
        """`endpoint` is the number of the one whose program judged, if this is its side: surer than the
        address, which may by now be another container's. Only what has an identity that containers have is
        asked for by address, so that a scan of the world or of empty addresses asks nothing."""
        reserved = RESERVED_LABELS.get(identity)
        known, labels = (True, reserved) if reserved else self.identities.look(identity, now)
        named, name = True, None
        if endpoint:
            named, name = self.endpoints.look(endpoint, now)
        elif identity == Reserved.INIT or is_cluster(identity):
            named, name = self.addresses.look((ip, identity), now)
        return known and named, Peer(ip, port, identity, labels or NO_LABELS, name or "")
