"""One number for one id, on whatever node it is asked for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from model.errors import Exhausted
from model.network import FIRST_NUMBER, LOCAL_FIRST_NUMBER
from store.keys import NUMBER, Keys
from store.kv import DeletePrefix, Set
from store.memory import MemoryStore
from store.networks import NetworkNumbers

KEYS = Keys()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def test_the_same_id_is_the_same_number_for_whoever_asks(store: MemoryStore) -> None:
    one, other = NetworkNumbers(store, KEYS), NetworkNumbers(store, KEYS)
    assert one.number("front") == FIRST_NUMBER
    assert other.number("back") == FIRST_NUMBER + 1
    assert other.number("front") == FIRST_NUMBER


def test_many_at_once_get_different_numbers(store: MemoryStore) -> None:
    ids = [f"n{number}" for number in range(12)] * 4
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda name: NetworkNumbers(store, KEYS).number(name), ids))
    assert dict(zip(ids, found, strict=True)) == {
        name: NetworkNumbers(store, KEYS).number(name) for name in ids
    }
    assert len(set(found)) == 12


def test_a_number_is_given_once(store: MemoryStore) -> None:
    numbers = NetworkNumbers(store, KEYS)
    first = numbers.number("front")
    store.transact([DeletePrefix(KEYS.networks())])
    assert numbers.number("back") == first + 1


def test_numbers_never_reach_those_of_one_host_alone(store: MemoryStore) -> None:
    store.transact([Set(KEYS.lock("networks"), NUMBER.encode(LOCAL_FIRST_NUMBER - 1))])
    with pytest.raises(Exhausted):
        NetworkNumbers(store, KEYS).number("front")
