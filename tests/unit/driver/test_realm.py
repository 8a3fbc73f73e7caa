from __future__ import annotations

import pytest

from driver.realm import LAST_ENDPOINT, MemoryRealm
from model.endpoint import Endpoint
from model.errors import Exhausted
from model.labels import Labels
from model.network import FIRST_NUMBER, LOCAL_FIRST_NUMBER


def test_equal_labels_have_one_identity() -> None:
    realm = MemoryRealm()
    first, second = Labels.parse(["container:a"]), Labels.parse(["container:b"])
    assert realm.identify(first) == realm.identify(first) != realm.identify(second)


def test_numbers_are_given_out_in_turn() -> None:
    realm = MemoryRealm()
    assert [realm.new_endpoint_id() for _ in range(3)] == [1, 2, 3]
    assert realm.new_network_number() == LOCAL_FIRST_NUMBER
    assert realm.new_network_number() == LOCAL_FIRST_NUMBER + 1
    assert realm.network_number("front") == realm.network_number("front") == FIRST_NUMBER


def test_a_full_host_says_so() -> None:
    realm = MemoryRealm()
    for number in range(1, LAST_ENDPOINT + 1):
        realm.put_endpoint(Endpoint(id=number, docker_id=str(number), network_id="n", mac=""))
    with pytest.raises(Exhausted):
        realm.new_endpoint_id()
    realm.remove_endpoint("700")
    assert realm.new_endpoint_id() == 700


def test_removing_what_is_not_there_is_no_error() -> None:
    realm = MemoryRealm()
    realm.remove_endpoint("x")
    realm.remove_network("x")
