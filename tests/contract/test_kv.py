"""What every key-value store promises, held against each one."""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.errors import Conflict, InvalidInput, Unavailable
from store.consul import ConsulStore
from store.kv import (
    MAX_OPERATIONS,
    MAX_TRANSACTION,
    MAX_VALUE,
    Changed,
    Check,
    Delete,
    DeletePrefix,
    Entry,
    KeyValueStore,
    Op,
    Removed,
    Resynced,
    Set,
    Watch,
)
from store.memory import MemoryStore
from store.sqlite import SqliteStore
from tests.consul.server import Server

STORES = ("memory", "sqlite", "consul")


def make(kind: str, request: pytest.FixtureRequest, folder: Path) -> KeyValueStore:
    if kind == "memory":
        return MemoryStore()
    if kind == "sqlite":
        return SqliteStore(folder / "store.db")
    server: Server = request.getfixturevalue("consul")
    return ConsulStore(server.http, "one", "sessions/one", boot="1")


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KeyValueStore]:
    store = make(request.param, request, tmp_path)
    yield store
    store.close()


def values(store: KeyValueStore, prefix: str = "") -> dict[str, bytes]:
    return {entry.key: entry.value for entry in store.list(prefix)}


def put(store: KeyValueStore, key: str, value: bytes = b"") -> int:
    return store.transact([Set(key, value)], durable=False)


def replay(watch: Watch, until: int, before: Mapping[str, bytes] = {}) -> dict[str, bytes]:
    """What a reader who knew `before` knows once it has seen everything up to the index `until`."""
    known = dict(before)
    reached = 0
    while reached < until:
        event = watch.next(5)
        assert event is not None, f"nothing came after {reached}, expected {until}"
        assert event.index >= reached
        reached = event.index
        if isinstance(event, Resynced):
            known = {entry.key: entry.value for entry in event.entries}
        elif isinstance(event, Changed):
            known.update({entry.key: entry.value for entry in event.entries})
        else:
            for key in event.keys:
                known.pop(key, None)
    return known


# reading and writing


def test_a_new_store_holds_nothing(store: KeyValueStore) -> None:
    assert store.get("a") is None
    assert store.list("") == []
    store.transact([Delete("a"), DeletePrefix("b/")])


@pytest.mark.parametrize("durable", [True, False])
def test_what_was_set_is_there_with_the_index_of_its_transaction(store: KeyValueStore, durable: bool) -> None:
    first = store.transact([Set("a", b"1"), Set("b", b"2")], durable=durable)
    second = store.transact([Set("b", b"3", session=True)], durable=durable)

    assert store.get("a") == Entry("a", b"1", first)
    assert store.get("b") == Entry("b", b"3", second)
    assert second > first > 0


def test_an_empty_value_is_a_value(store: KeyValueStore) -> None:
    put(store, "a", b"")
    entry = store.get("a")
    assert entry is not None and entry.value == b""
    with pytest.raises(Conflict):
        store.transact([Set("a", b"", index=0)])


def test_a_list_is_sorted_and_keeps_to_its_prefix(store: KeyValueStore) -> None:
    for key in ["ips/b/2", "ips/a/10.0.0.0/24", "ips", "ips/a/fd00::/64", "ipsec", "ips/a~", "j"]:
        put(store, key)

    assert [entry.key for entry in store.list("ips/")] == [
        "ips/a/10.0.0.0/24",
        "ips/a/fd00::/64",
        "ips/a~",
        "ips/b/2",
    ]
    assert [entry.key for entry in store.list("ips/a/")] == ["ips/a/10.0.0.0/24", "ips/a/fd00::/64"]
    assert [entry.key for entry in store.list("j")] == ["j"]


def test_deleting_is_idempotent_and_a_prefix_goes_as_a_whole(store: KeyValueStore) -> None:
    for key in ["a/1", "a/2", "ab", "b"]:
        put(store, key)

    store.transact([DeletePrefix("a/"), Delete("b")])
    store.transact([Delete("b"), DeletePrefix("a/")])

    assert list(values(store)) == ["ab"]


def test_operations_of_a_transaction_see_those_before_them(store: KeyValueStore) -> None:
    put(store, "old")
    index = store.transact(
        [Set("a/1", b"1"), DeletePrefix("a/"), Set("a/2", b"2", index=0), Delete("old"), Check("old", 0)]
    )
    assert store.list("") == [Entry("a/2", b"2", index)]

    with pytest.raises(Conflict):
        store.transact([Set("new", b""), Set("new", b"", index=0)])


def test_a_transaction_that_changes_nothing_shows_nothing(store: KeyValueStore) -> None:
    index = put(store, "a")
    watch = store.watch("")
    watch.next(5)
    assert store.transact([]) >= index
    assert store.transact([Check("a", index), Delete("none"), DeletePrefix("none/")]) >= index
    assert store.get("a") == Entry("a", b"", index)
    assert watch.next(0) is None
    assert put(store, "b") > index


# compare and set


def test_create_only_refuses_what_exists(store: KeyValueStore) -> None:
    store.transact([Set("a", b"1", index=0)])
    with pytest.raises(Conflict, match="a exists already"):
        store.transact([Set("a", b"2", index=0)])
    store.transact([Delete("a")])
    store.transact([Set("a", b"3", index=0)])
    assert values(store) == {"a": b"3"}


def test_a_stale_index_is_refused_by_every_kind_of_operation(store: KeyValueStore) -> None:
    old = put(store, "a", b"1")
    new = put(store, "a", b"2")
    stale: list[Op] = [Set("a", b"3", index=old), Delete("a", index=old), Check("a", old), Check("a", 0)]
    for op in stale:
        with pytest.raises(Conflict):
            store.transact([op])
    assert store.get("a") == Entry("a", b"2", new)

    store.transact([Check("a", new), Set("a", b"3", index=new)])
    with pytest.raises(Conflict, match="another writer"):
        store.transact([Delete("absent", index=new)])


def test_one_failing_operation_undoes_all(store: KeyValueStore) -> None:
    index = put(store, "a", b"1")
    with pytest.raises(Conflict):
        store.transact([Set("a", b"2"), Set("b", b"2"), DeletePrefix("a"), Check("c", 7)])
    assert store.list("") == [Entry("a", b"1", index)]
    assert put(store, "b") > index


def test_of_many_who_create_a_key_one_wins(store: KeyValueStore) -> None:
    def create(number: int) -> bool:
        try:
            store.transact([Set("lock", str(number).encode(), index=0)], durable=False)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(16) as threads:
        won = [number for number, ok in enumerate(threads.map(create, range(64))) if ok]
    assert len(won) == 1
    assert values(store) == {"lock": str(won[0]).encode()}


def test_no_increment_is_lost_among_threads(store: KeyValueStore) -> None:
    put(store, "counter", b"0")

    def increment(_: int) -> None:
        while True:
            entry = store.get("counter")
            assert entry is not None
            try:
                value = str(int(entry.value) + 1).encode()
                store.transact([Set("counter", value, index=entry.index)], durable=False)
            except Conflict:
                continue
            return

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(increment, range(200)))
    assert values(store) == {"counter": b"200"}


# limits


@pytest.mark.parametrize("key", ["", "/a", "a b", "a\nb", "ü", "a" * 513, "\x7f"])
def test_keys_that_some_store_could_not_hold_are_refused(store: KeyValueStore, key: str) -> None:
    refused: list[Op] = [Set(key, b""), Delete(key), DeletePrefix(key), Check(key, 0)]
    for op in refused:
        with pytest.raises(InvalidInput, match="no key"):
            store.transact([op])


def test_a_value_of_512_kilobytes_fits_and_a_larger_one_does_not(store: KeyValueStore) -> None:
    large = bytes(MAX_VALUE)
    index = store.transact([Set("a", large)])
    assert store.get("a") == Entry("a", large, index)

    with pytest.raises(InvalidInput, match="524289 bytes"):
        store.transact([Set("small", b""), Set("a", large + b"x")])
    assert store.get("a") == Entry("a", large, index)
    assert store.get("small") is None


def test_a_transaction_has_its_limits_too(store: KeyValueStore) -> None:
    store.transact([Set(f"k{number}", b"") for number in range(MAX_OPERATIONS)])
    with pytest.raises(InvalidInput, match=f"{MAX_OPERATIONS + 1} operations"):
        store.transact([Set(f"k{number}", b"") for number in range(MAX_OPERATIONS + 1)])
    with pytest.raises(InvalidInput, match="one transaction"):
        store.transact([Set("a", bytes(MAX_TRANSACTION)), Set("b", b"x")])
    with pytest.raises(InvalidInput, match="must not exist"):
        store.transact([Delete("a", index=0)])


def test_ten_thousand_keys(store: KeyValueStore) -> None:
    keys = [f"ips/node/10.0.{number >> 8}.{number & 255}/32" for number in range(10_000)]
    started = time.monotonic()
    for first in range(0, len(keys), MAX_OPERATIONS):
        chunk = keys[first : first + MAX_OPERATIONS]
        store.transact([Set(key, key.encode()) for key in chunk], durable=False)
    assert time.monotonic() - started < 10

    assert values(store) == {key: key.encode() for key in keys}
    assert len(store.list("ips/node/10.0.7.")) == 256
    watch = store.watch("ips/")
    event = watch.next(5)
    assert isinstance(event, Resynced) and len(event.entries) == 10_000

    store.transact([DeletePrefix("ips/")])
    gone = watch.next(5)
    assert isinstance(gone, Removed) and sorted(gone.keys) == sorted(keys)
    assert store.list("") == []


# watching


def test_a_watch_begins_with_all_there_is(store: KeyValueStore) -> None:
    empty = store.watch("a/")
    nothing = empty.next(5)
    assert isinstance(nothing, Resynced) and nothing.entries == ()

    put(store, "a/2", b"2")
    index = put(store, "a/1", b"1")
    put(store, "b", b"")
    event = store.watch("a/").next(5)
    assert isinstance(event, Resynced)
    assert [entry.key for entry in event.entries] == ["a/1", "a/2"]
    assert event.index >= index


def test_changes_come_in_order_and_only_those_below_the_prefix(store: KeyValueStore) -> None:
    watch = store.watch("a/")
    watch.next(5)

    first = put(store, "a/1", b"1")
    assert watch.next(5) == Changed((Entry("a/1", b"1", first),), first)

    put(store, "b", b"")
    assert watch.next(0) is None

    second = put(store, "a/0", b"2")
    third = put(store, "a/1", b"3")
    seen: list[Entry] = []
    while not seen or seen[-1].index < third:
        event = watch.next(5)
        assert isinstance(event, Changed) and event.index == event.entries[-1].index
        seen += event.entries
    assert seen == [Entry("a/0", b"2", second), Entry("a/1", b"3", third)]

    fourth = store.transact([Delete("a/1")])
    assert watch.next(5) == Removed(("a/1",), fourth)


def test_a_transaction_that_sets_and_removes_shows_the_removal_last(store: KeyValueStore) -> None:
    put(store, "old")
    watch = store.watch("")
    watch.next(5)
    index = store.transact([Delete("old"), Set("new", b"")])

    changed = watch.next(5)
    assert isinstance(changed, Changed) and changed.entries == (Entry("new", b"", index),)
    assert watch.next(5) == Removed(("old",), index)

    again = store.watch("", since=changed.index)  # whoever stopped between the two misses nothing
    assert replay(again, index, {"old": b""}) == {"new": b""}


def test_a_watch_goes_on_where_an_earlier_one_ended(store: KeyValueStore) -> None:
    put(store, "a", b"1")
    event = store.watch("").next(5)
    assert event is not None
    put(store, "b", b"2")
    end = store.transact([Delete("a")])

    later = store.watch("", since=event.index)
    assert replay(later, end, {"a": b"1"}) == {"b": b"2"}
    assert later.next(0) is None


def test_a_log_tells_what_happened_since(tmp_path: Path) -> None:
    """What the embedded stores promise beyond the others: no resync for who was only away for a while."""
    for store in (MemoryStore(), SqliteStore(tmp_path / "store.db")):
        since = put(store, "a")
        put(store, "b")
        store.transact([Delete("a")])
        watch = store.watch("", since)
        changed, removed = watch.next(5), watch.next(5)
        assert isinstance(changed, Changed) and [entry.key for entry in changed.entries] == ["b"]
        assert isinstance(removed, Removed) and removed.keys == ("a",)
        store.close()


def test_a_watch_from_an_index_the_store_never_had_starts_afresh(store: KeyValueStore) -> None:
    index = put(store, "a", b"1")
    event = store.watch("", since=index + 1000).next(5)
    assert event == Resynced((Entry("a", b"1", index),), index)


def test_a_reader_left_far_behind_misses_nothing(store: KeyValueStore) -> None:
    put(store, "kept", b"1")
    behind = store.watch("")
    behind.next(5)
    start = put(store, "also", b"2")
    for _ in range(200):  # 12,000 removals are more than any log keeps
        store.transact([Set(f"x{number}", b"") for number in range(60)], durable=False)
        end = store.transact([DeletePrefix("x")], durable=False)

    everything = {"also": b"2", "kept": b"1"}
    assert replay(behind, start, {"kept": b"1"}) == everything
    event = store.watch("", since=start).next(5)
    assert isinstance(event, Resynced) and event.index >= end
    assert {entry.key: entry.value for entry in event.entries} == everything
    assert put(store, "next") > start + 200


def test_waiting_ends_at_the_time_limit(store: KeyValueStore) -> None:
    watch = store.watch("")
    watch.next(5)
    started = time.monotonic()
    assert watch.next(0.2) is None
    assert 0.2 <= time.monotonic() - started < 2


def test_a_waiting_reader_wakes_at_once(store: KeyValueStore) -> None:
    watch = store.watch("a")
    watch.next(5)
    seen: list[float] = []
    delays = []
    reader = threading.Thread(
        target=lambda: [seen.append(time.monotonic()) for _ in range(5) if watch.next(5)]
    )
    reader.start()
    for number in range(5):
        time.sleep(0.05)
        written = time.monotonic()
        put(store, f"a{number}")
        while len(seen) <= number:
            time.sleep(0.001)
        delays.append(seen[number] - written)
    reader.join(5)
    assert sorted(delays)[2] < 0.3, delays  # less than a poll


def test_closing_a_watch_or_its_store_ends_the_waiting(store: KeyValueStore) -> None:
    one, other = store.watch(""), store.watch("")
    ended: list[str] = []

    def read(name: str, watch: Watch) -> None:
        assert [event for event in watch if not isinstance(event, Resynced)] == []
        ended.append(name)

    readers = [threading.Thread(target=read, args=args) for args in (("one", one), ("other", other))]
    for reader in readers:
        reader.start()
    time.sleep(0.05)
    one.close()
    one.close()
    readers[0].join(5)
    assert ended == ["one"]
    store.close()
    readers[1].join(5)
    assert ended == ["one", "other"]
    assert other.next(0) is None


def test_a_closed_store_says_so(store: KeyValueStore) -> None:
    store.close()
    store.close()
    for call in (lambda: store.get("a"), lambda: store.list(""), lambda: store.transact([Set("a", b"")])):
        with pytest.raises(Unavailable, match="closed"):
            call()


def test_readers_end_up_knowing_what_the_writers_wrote(store: KeyValueStore) -> None:
    """Four writers at random, three readers that begin at different times: each reader's picture, made of
    events alone, is the store's."""

    def write(seed: int) -> None:
        dice = random.Random(seed)
        for step in range(60):
            key = f"{dice.choice('ab')}/{dice.randrange(12)}"
            op: Op = Delete(key) if dice.random() < 0.4 else Set(key, f"{seed}.{step}".encode())
            store.transact([op], durable=False)

    with ThreadPoolExecutor(8) as threads:
        watches = [store.watch("a/")]
        writers = [threads.submit(write, seed) for seed in range(4)]
        watches.append(store.watch("a/"))
        time.sleep(0.01)
        watches.append(store.watch("a/"))
        for writer in writers:
            writer.result()
        end = put(store, "a/end", b"end")
        pictures = [replay(watch, end) for watch in watches]
    for picture in pictures:
        assert picture == values(store, "a/")


def test_health_says_whether_the_store_answers_and_which_session_it_is(store: KeyValueStore) -> None:
    put(store, "a")
    found = store.health()
    assert (found.problem, found.session) == ("", 1), "a session of its own, before anything is written"
    store.close()
    assert store.health().problem


# all stores alike

KEYS = st.sampled_from(["a", "a/1", "a/2", "b", "b/1"])
INDEXES = st.sampled_from([None, 0, -1, -2])
"""Negative: the index of so many transactions ago."""
OPS = st.one_of(
    st.builds(Set, KEYS, st.binary(max_size=2), INDEXES),
    st.builds(Delete, KEYS, st.sampled_from([None, -1, -2])),
    st.builds(DeletePrefix, st.sampled_from(["a", "a/", "b/"])),
    st.builds(Check, KEYS, st.sampled_from([0, -1, -2])),
)


@settings(max_examples=60, deadline=None)
@given(transactions=st.lists(st.lists(OPS, min_size=1, max_size=4), max_size=12))
def test_the_embedded_stores_answer_the_same(transactions: list[list[Op]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        stores: list[KeyValueStore] = [MemoryStore(), SqliteStore(Path(folder) / "store.db")]
        watches = [store.watch("a") for store in stores]
        indexes = [1, 1]
        for transaction in transactions:
            ops = [_resolved(op, indexes) for op in transaction]
            outcomes = [_outcome(store, ops) for store in stores]
            assert outcomes[0] == outcomes[1]
            if isinstance(outcomes[0], int):
                indexes.append(max(1, outcomes[0]))
            assert stores[0].list("") == stores[1].list("")
            assert watches[0].next(0) == watches[1].next(0)
        for store in stores:
            store.close()


@pytest.mark.parametrize("store", ["consul"], indirect=True)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(transactions=st.lists(st.lists(OPS, min_size=1, max_size=4), max_size=12))
def test_a_store_of_many_nodes_answers_as_the_embedded_ones(
    store: KeyValueStore, transactions: list[list[Op]]
) -> None:
    """Its indexes are others, and where nothing changes it may show nothing or a new one."""
    store.transact([DeletePrefix("a"), DeletePrefix("b")])
    model = MemoryStore()
    watch = store.watch("a")
    watch.next(5)
    indexes = {each: [put(each, "start")] * 2 for each in (model, store)}
    picture: dict[str, bytes] = {}
    for transaction in transactions:
        outcomes = [
            _outcome(each, [_resolved(op, indexes[each]) for op in transaction]) for each in (model, store)
        ]
        if any(isinstance(outcome, str) for outcome in outcomes):
            assert len({str(outcome).split()[0] for outcome in outcomes}) == 1, "the same key is in the way"
        elif outcomes[0] != indexes[model][-1]:  # else nothing has changed
            for each, outcome in zip((model, store), outcomes, strict=True):
                assert isinstance(outcome, int)
                indexes[each].append(outcome)
        assert values(store) == values(model)
        wanted = values(model, "a")
        while picture != wanted:
            event = watch.next(5)
            assert event is not None, f"still {picture}, not {wanted}"
            if isinstance(event, Removed):
                for key in event.keys:
                    picture.pop(key, None)
            else:
                picture.update({entry.key: entry.value for entry in event.entries})


def _resolved(op: Op, indexes: list[int]) -> Op:
    if isinstance(op, DeletePrefix) or op.index is None or op.index >= 0:
        return op
    index = indexes[op.index]
    if isinstance(op, Set):
        return Set(op.key, op.value, index)
    return Delete(op.key, index) if isinstance(op, Delete) else Check(op.key, index)


def _outcome(store: KeyValueStore, ops: list[Op]) -> int | str:
    try:
        return store.transact(ops, durable=False)
    except Conflict as error:
        return str(error)
