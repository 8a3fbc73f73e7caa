from __future__ import annotations

from ipaddress import ip_address, ip_network

from driver.reconcile import Missing, addresses_of, endpoint_ids, subnets_of

NETWORK = {
    "Name": "n",
    "IPAM": {
        "Driver": "ciliate",
        "Config": [
            {"Subnet": "10.9.0.0/24", "Gateway": "10.9.0.1", "AuxiliaryAddresses": {"router": "10.9.0.9"}},
            {"Subnet": "fd09::/64", "Gateway": "fd09::1/64"},
        ],
    },
    "Containers": {
        "c1": {"Name": "web", "EndpointID": "e1", "IPv4Address": "10.9.0.2/24", "IPv6Address": "fd09::2/64"},
        "ep-e2": {"Name": "db", "EndpointID": "e2", "IPv4Address": "10.9.0.3/24", "IPv6Address": ""},
    },
}


def test_what_the_engine_shows_of_a_network() -> None:
    assert endpoint_ids(NETWORK) == {"e1", "e2"}
    assert subnets_of(NETWORK) == [ip_network("10.9.0.0/24"), ip_network("fd09::/64")]
    texts = ("10.9.0.1", "10.9.0.9", "fd09::1", "10.9.0.2", "fd09::2", "10.9.0.3")
    assert addresses_of(NETWORK) == {ip_address(text) for text in texts}


def test_a_network_with_nothing_in_it() -> None:
    for empty in ({}, {"IPAM": None, "Containers": None}, {"IPAM": {"Config": None}, "Containers": {}}):
        assert endpoint_ids(empty) == set() and subnets_of(empty) == [] and addresses_of(empty) == set()


def test_only_what_has_been_missing_for_long_is_forgotten() -> None:
    missing = Missing(30.0)
    assert missing.look({"a", "b"}, now=0.0) == set()
    assert missing.look({"a"}, now=20.0) == set()
    assert missing.look({"a", "b"}, now=30.0) == {"a"}, "b was there again meanwhile, and begins anew"
    assert missing.look({"b"}, now=60.0) == {"b"}
