"""Numbers for labels, among nodes that share a store."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from model.errors import Conflict, Exhausted, Unavailable
from model.labels import Labels
from store.identities import IdentityAllocator
from store.keys import HOLDER, Keys
from store.kv import Delete, DeletePrefix, Entry, Health, KeyValueStore, Op, Set, Watch
from store.memory import MemoryStore

KEYS = Keys()
WEB = Labels.parse(["container:app=web", "network:id=front"])
DB = Labels.parse(["container:app=db", "network:id=front"])


def labels(number: int) -> Labels:
    return Labels.parse([f"container:app={number}"])


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


class CountingStore:
    """Counts the calls that a store gets."""

    def __init__(self, store: KeyValueStore) -> None:
        self.inner = store
        self.calls = 0

    def get(self, key: str) -> Entry | None:
        self.calls += 1
        return self.inner.get(key)

    def list(self, prefix: str) -> list[Entry]:
        self.calls += 1
        return self.inner.list(prefix)

    def transact(self, ops: Sequence[Op], *, durable: bool = True, token: str = "") -> int:
        self.calls += 1
        return self.inner.transact(ops, durable=durable)

    def watch(self, prefix: str, since: int = 0) -> Watch:
        return self.inner.watch(prefix, since)

    def health(self) -> Health:
        return self.inner.health()

    def close(self) -> None:
        self.inner.close()


def made(store: KeyValueStore, node: str, **options: Any) -> IdentityAllocator:
    """One that removes what it finds unused a second time."""
    return IdentityAllocator(store, KEYS, node, grace=options.pop("grace", 0), **options)


def references(store: MemoryStore, node: str | None = None) -> list[str]:
    prefix = KEYS.identity_references()
    return [entry.key.removeprefix(prefix) for entry in store.list(KEYS.identity_references(node))]


# allocation


def test_the_same_labels_are_the_same_number_on_every_node(store: MemoryStore) -> None:
    one, two = made(store, "n1"), made(store, "n2")
    assert one.allocate(WEB) == 256
    assert one.allocate(DB) == 257
    assert two.allocate(DB) == 257
    assert two.allocate(WEB) == 256
    assert one.all() == two.all() == {256: WEB, 257: DB}
    assert two.lookup(256) == WEB
    assert two.lookup(300) is None
    assert references(store) == ["n1/256", "n1/257", "n2/256", "n2/257"]


def test_the_next_replica_costs_no_store_access(store: MemoryStore) -> None:
    counted = CountingStore(store)
    allocator = IdentityAllocator(counted, KEYS, "n1")
    number = allocator.allocate(WEB)
    counted.calls = 0
    for _ in range(100):
        assert allocator.allocate(WEB) == number
    assert allocator.lookup(number) == WEB
    for _ in range(100):
        allocator.release(number)
    assert counted.calls == 0


def test_a_new_identity_is_one_transaction(store: MemoryStore) -> None:
    allocator = made(store, "n1")
    before = store.transact([])
    allocator.allocate(WEB)
    assert store.transact([]) == before + 1


def test_fifty_allocators_at_once_agree(store: MemoryStore) -> None:
    """Each node allocates labels that all use and labels of its own, in an order of its own."""
    barrier = threading.Barrier(50)

    def allocate(node: int) -> dict[Labels, int]:
        allocator = made(store, f"n{node}")
        wanted = [labels(number) for number in range(10)] + [labels(1000 + node)]
        random.Random(node).shuffle(wanted)
        barrier.wait(20)
        return {each: allocator.allocate(each) for each in wanted}

    with ThreadPoolExecutor(50) as threads:
        results = list(threads.map(allocate, range(50)))
    merged: dict[Labels, int] = {}
    for result in results:
        for each, number in result.items():
            assert merged.setdefault(each, number) == number
    assert len(merged) == 60 == len(set(merged.values()))
    assert made(store, "other").all() == {number: each for each, number in merged.items()}


def test_fifty_threads_of_one_allocator_agree(store: MemoryStore) -> None:
    allocator = made(store, "n1")
    with ThreadPoolExecutor(50) as threads:
        numbers = list(threads.map(lambda number: allocator.allocate(labels(number % 5)), range(200)))
    assert len(set(numbers)) == 5
    assert all(number == numbers[position % 5] for position, number in enumerate(numbers))


def test_numbers_run_out_with_a_clear_error(store: MemoryStore) -> None:
    allocator = made(store, "n1", numbers=range(256, 260))
    assert [allocator.allocate(labels(number)) for number in range(4)] == [256, 257, 258, 259]
    with pytest.raises(Exhausted, match="all 4 identities are in use") as caught:
        allocator.allocate(labels(4))
    assert "CILIATE_LABELS" in caught.value.hint
    assert allocator.allocate(labels(0)) == 256


def test_labels_with_two_numbers_are_noticed(store: MemoryStore) -> None:
    made(store, "n1").allocate(WEB)
    entry = store.get(KEYS.identity_value(WEB))
    assert entry is not None
    store.transact([Set(KEYS.identity_value(DB), entry.value)])
    with pytest.raises(Unavailable, match="two sets of labels"):
        made(store, "n2").allocate(DB)


def test_somebody_else_s_keys_are_left_alone(store: MemoryStore) -> None:
    store.transact([Set("ciliate/other/identities/id/256", HOLDER.encode("x"))])
    assert made(store, "n1").allocate(WEB) == 256


# restart


def test_a_restarted_node_finds_its_identities_without_a_write(store: MemoryStore) -> None:
    number = made(store, "n1").allocate(WEB)
    again = made(store, "n1")
    before = store.transact([])
    assert again.allocate(WEB) == number
    assert store.transact([]) == before


def test_what_a_restarted_node_does_not_use_any_more_is_given_back(store: MemoryStore) -> None:
    old = made(store, "n1")
    old.allocate(WEB)
    old.allocate(DB)

    again = made(store, "n1")
    kept = again.allocate(WEB)
    removed = [again.collect() for _ in range(3)]
    assert removed == [[], [], [257]]
    assert again.all() == {kept: WEB}
    assert references(store) == ["n1/256"]


# collection


def test_an_identity_goes_when_no_node_has_used_it_for_a_while(store: MemoryStore) -> None:
    one, two = made(store, "n1"), made(store, "n2")
    number = one.allocate(WEB)
    assert two.allocate(WEB) == number

    one.release(number)
    for _ in range(4):
        assert one.collect() == []
    assert references(store) == [f"n2/{number}"]

    two.release(number)
    assert [two.collect() for _ in range(3)] == [[], [], []], "it drops its reference; the other collects"
    assert [one.collect() for _ in range(2)] == [[], [number]]
    assert two.all() == {} and references(store) == []
    assert store.get(KEYS.identity_value(WEB)) is None


def test_a_quick_restart_of_a_container_writes_nothing(store: MemoryStore) -> None:
    allocator = made(store, "n1")
    number = allocator.allocate(WEB)
    allocator.collect()
    before = store.transact([])
    allocator.release(number)
    allocator.collect()
    assert allocator.allocate(WEB) == number
    for _ in range(3):
        assert allocator.collect() == []
    assert store.transact([]) == before


def test_a_removed_number_is_not_given_out_again_at_once(store: MemoryStore) -> None:
    numbers = range(256, 260)
    allocator = made(store, "n1", numbers=numbers)
    first, second = allocator.allocate(labels(0)), allocator.allocate(labels(1))
    for number in (first, second):
        allocator.release(number)
    for _ in range(3):
        allocator.collect()
    assert allocator.all() == {}

    fresh = made(store, "n2", numbers=numbers)
    assert [fresh.allocate(labels(number)) for number in (2, 3, 4, 5)] == [258, 259, 256, 257]


def test_whoever_takes_a_condemned_identity_into_use_keeps_it(store: MemoryStore) -> None:
    one, two = made(store, "n1"), made(store, "n2")
    number = one.allocate(WEB)
    one.release(number)
    one.collect()
    one.collect()  # condemned, no reference left
    assert references(store) == []

    assert two.allocate(WEB) == number
    assert [one.collect() for _ in range(4)] == [[], [], [], []]
    assert one.all() == {number: WEB}


def test_a_number_is_kept_for_a_while_after_its_last_use(store: MemoryStore) -> None:
    now = 1_000_000.0
    one = made(store, "n1", grace=900, clock=lambda: now)
    number = one.allocate(WEB)
    one.release(number)
    assert [one.collect() for _ in range(4)] == [[]] * 4
    now += 800
    assert one.collect() == []
    assert one.allocate(WEB) == number, "who comes back in time finds it"
    one.collect()
    one.release(number)
    now += 800
    assert [one.collect() for _ in range(3)] == [[]] * 3, "the time begins anew"
    now += 900
    assert one.collect() == [number]


def test_one_node_collects_and_another_takes_over_when_its_session_has_ended(store: MemoryStore) -> None:
    one, two = made(store, "n1"), made(store, "n2")
    number = two.allocate(WEB)
    one.collect()
    two.release(number)
    assert [two.collect() for _ in range(5)] == [[]] * 5
    store.transact([Delete(KEYS.lock("identities"))])
    assert [two.collect() for _ in range(2)] == [[], [number]]
    assert [one.collect() for _ in range(2)] == [[], []]


def test_collection_and_allocation_at_the_same_time_never_part_a_number_from_its_labels(
    store: MemoryStore,
) -> None:
    """Four nodes take and release few identities while all collect: whatever a node holds is what the store
    says, at every moment."""
    failures: list[str] = []

    def live(node: int) -> None:
        dice = random.Random(node)
        allocator = made(store, f"n{node}", numbers=range(256, 512))
        for _ in range(150):
            wanted = labels(dice.randrange(3))
            number = allocator.allocate(wanted)
            if dice.random() < 0.5:
                allocator.collect()
            if allocator.all().get(number) != wanted:
                failures.append(f"{node}: {number} is not {wanted}")
            allocator.release(number)
            for _ in range(dice.randrange(4)):
                allocator.collect()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(live, range(4)))
    assert failures == []


# sessions


class SessionStore(CountingStore):
    """Its node's session may end, and it may not answer."""

    def __init__(self, store: KeyValueStore) -> None:
        super().__init__(store)
        self.session = 1
        self.is_away = False

    def end_session(self, node: str) -> None:
        self.inner.transact([DeletePrefix(KEYS.identity_references(node))])
        self.session += 1

    def get(self, key: str) -> Entry | None:
        self._answer()
        return super().get(key)

    def list(self, prefix: str) -> list[Entry]:
        self._answer()
        return super().list(prefix)

    def health(self) -> Health:
        return Health(self.session)

    def _answer(self) -> None:
        if self.is_away:
            raise Unavailable("the store does not answer")


def test_references_that_went_with_a_session_are_taken_again(store: MemoryStore) -> None:
    shared = SessionStore(store)
    allocator = IdentityAllocator(shared, KEYS, "n1")
    allocator.allocate(WEB)
    assert allocator.refresh() == []
    shared.calls = 0
    assert allocator.refresh() == [] and shared.calls == 0, "nothing to do costs nothing"
    shared.end_session("n1")
    assert allocator.refresh() == []
    assert references(store) == ["n1/256"]


def test_an_identity_that_was_removed_meanwhile_is_made_again(store: MemoryStore) -> None:
    shared = SessionStore(store)
    allocator, other = IdentityAllocator(shared, KEYS, "n1"), made(store, "n2")
    allocator.allocate(WEB)
    allocator.refresh()
    shared.end_session("n1")
    other.collect()
    assert other.collect() == [256]
    assert allocator.refresh() == []
    assert other.allocate(WEB) == 256


def test_a_number_whose_labels_have_another_by_now_is_told(store: MemoryStore) -> None:
    shared = SessionStore(store)
    allocator, other = IdentityAllocator(shared, KEYS, "n1"), made(store, "n2")
    allocator.allocate(WEB)
    allocator.allocate(DB)
    allocator.refresh()
    shared.end_session("n1")
    other.collect()
    other.collect()
    assert other.allocate(WEB) == 258
    assert allocator.refresh() == [256]
    assert allocator.allocate(WEB) == 258 and allocator.allocate(DB) == 257


def test_a_node_that_starts_without_the_store_goes_on_with_what_it_had(store: MemoryStore) -> None:
    made(store, "n1").allocate(WEB)
    shared = SessionStore(store)
    shared.is_away = True
    allocator = IdentityAllocator(shared, KEYS, "n1")
    with pytest.raises(Unavailable):
        allocator.allocate(WEB)
    allocator.adopt(256, WEB)
    assert allocator.allocate(WEB) == 256 and allocator.lookup(256) == WEB
    for number, other in ((256, DB), (257, WEB)):
        with pytest.raises(Conflict):
            allocator.adopt(number, other)
    with pytest.raises(Unavailable):
        allocator.refresh()
    shared.is_away = False
    assert allocator.refresh() == []
    assert allocator.collect() == [] and references(store) == ["n1/256"]
