"""The protocol as dockerd speaks it: no Content-Type, null options, empty bodies. The requests have the shapes
that dockerd 20.10 and 26.1 send."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from ipam_driver.api import blueprint
from store.sqlite import SqliteStore

GATEWAY = {"RequestAddressType": "com.docker.network.gateway"}


class Dockerd:
    """Calls as dockerd does, and reads an answer as it does."""

    def __init__(self, client: FlaskClient) -> None:
        self.client = client

    def raw(self, method: str, body: bytes = b"") -> tuple[int, dict[str, Any]]:
        answer = self.client.post(
            f"/IpamDriver.{method}",
            data=body,
            headers={"Accept": "application/vnd.docker.plugins.v1.2+json"},
        )
        assert answer.content_type == "application/vnd.docker.plugins.v1.2+json"
        return answer.status_code, json.loads(answer.data)

    def __call__(self, method: str, **members: Any) -> dict[str, Any]:
        status, answer = self.raw(method, json.dumps(members).encode())
        assert status == 200, answer
        return answer

    def error(self, method: str, **members: Any) -> str:
        """What the user sees."""
        status, answer = self.raw(method, json.dumps(members).encode())
        assert status == 500, "dockerd takes an IPAM driver's 200 for success"
        assert set(answer) == {"Err", "Error"}
        assert answer["Err"] == answer["Error"]
        return str(answer["Err"])


@pytest.fixture
def dockerd(host: Any) -> Dockerd:
    app = Flask("test")
    app.register_blueprint(blueprint(host.start()))
    return Dockerd(app.test_client())


def pool(dockerd: Dockerd, pool: str = "", sub_pool: str = "", v6: bool = False) -> str:
    answer = dockerd(
        "RequestPool", AddressSpace="ciliate-local", Pool=pool, SubPool=sub_pool, Options={}, V6=v6
    )
    assert answer["Data"] == {}
    assert answer["PoolID"]
    return str(answer["Pool"])


def test_what_dockerd_asks_at_activation(dockerd: Dockerd) -> None:
    assert dockerd.raw("GetCapabilities") == (
        200,
        {"RequiresMACAddress": False, "RequiresRequestReplay": False},
    )
    status, spaces = dockerd.raw("GetDefaultAddressSpaces")
    assert status == 200
    assert set(spaces) == {"LocalDefaultAddressSpace", "GlobalDefaultAddressSpace"}
    assert all(spaces.values())


def test_a_dual_stack_network_with_a_container(dockerd: Dockerd) -> None:
    """docker network create --ipv6 --subnet 10.90.0.0/24 --subnet fd90::/64; docker run; rm; network rm."""
    assert pool(dockerd, "10.90.0.0/24") == "10.90.0.0/24"
    first = {"PoolID": "10.90.0.0/24", "Address": "", "Options": GATEWAY}
    assert dockerd("RequestAddress", **first) == {"Address": "10.90.0.1/24", "Data": {}}
    assert pool(dockerd, "fd90::/64", v6=True) == "fd90::/64"
    second = {"PoolID": "fd90::/64", "Address": "fd90::1", "Options": GATEWAY}
    assert dockerd("RequestAddress", **second) == {"Address": "fd90::1/64", "Data": {}}

    for pool_id, expected in (("10.90.0.0/24", "10.90.0.2/24"), ("fd90::/64", "fd90::2/64")):
        request = {"PoolID": pool_id, "Address": "", "Options": None}
        assert dockerd("RequestAddress", **request)["Address"] == expected

    for pool_id, address in (("10.90.0.0/24", "10.90.0.2"), ("fd90::/64", "fd90::2")):
        for _ in range(2):
            assert dockerd("ReleaseAddress", PoolID=pool_id, Address=address) == {}
    for pool_id, address in (("10.90.0.0/24", "10.90.0.1"), ("fd90::/64", "fd90::1")):
        dockerd("ReleaseAddress", PoolID=pool_id, Address=address)
        for _ in range(2):
            assert dockerd("ReleasePool", PoolID=pool_id) == {}


def test_a_network_without_a_subnet(dockerd: Dockerd) -> None:
    assert pool(dockerd) == "10.200.0.0/24"
    assert pool(dockerd) == "10.200.1.0/24"
    assert pool(dockerd, v6=True) == "fd00:c111::/64"


def test_a_range_a_static_address_and_an_auxiliary_one(dockerd: Dockerd) -> None:
    network = pool(dockerd, "10.77.0.0/24", "10.77.0.128/25")
    gateway = {"PoolID": network, "Address": "10.77.0.1", "Options": GATEWAY}
    assert dockerd("RequestAddress", **gateway)["Address"] == "10.77.0.1/24"
    for wanted, given in (
        ("10.77.0.9", "10.77.0.9/24"),
        ("", "10.77.0.128/24"),
        ("10.77.0.50", "10.77.0.50/24"),
    ):
        request = {"PoolID": network, "Address": wanted, "Options": None}
        assert dockerd("RequestAddress", **request)["Address"] == given


def test_members_may_be_null_or_absent(dockerd: Dockerd) -> None:
    answer = dockerd("RequestPool", Pool=None, SubPool=None, Options=None, V6=None)
    assert dockerd("RequestAddress", PoolID=answer["PoolID"])["Address"] == "10.200.0.1/24"
    assert dockerd("RequestAddress", PoolID=answer["PoolID"], Options={}, New={"x": 1})["Address"]


def test_a_subnet_written_with_host_bits_is_read_as_docker_reads_it(dockerd: Dockerd) -> None:
    assert pool(dockerd, "10.90.0.5/24") == "10.90.0.0/24"


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"Options": {"io": "1"}}, "--ipam-opt: unknown IPAM option 'io'"),
        ({"Pool": "nonsense"}, "--subnet: 'nonsense' is no subnet"),
        ({"Pool": "10.0.0.0/33"}, "--subnet: '10.0.0.0/33' is no subnet"),
        ({"Pool": "fd00::/64"}, "--subnet: fd00::/64 is not IPv4"),
        ({"Pool": "10.0.0.0/24", "V6": True}, "--subnet: 10.0.0.0/24 is not IPv6"),
        ({"SubPool": "10.0.0.0/25"}, "--ip-range: a range of no subnet"),
        ({"Pool": "10.0.0.0/24", "SubPool": "x"}, "--ip-range: 'x' is no subnet"),
        (
            {"Pool": "10.0.0.0/24", "SubPool": "10.1.0.0/25"},
            "--ip-range: 10.1.0.0/25 is not within 10.0.0.0/24",
        ),
        ({"Pool": "10.0.0.0/32"}, "--subnet: 10.0.0.0/32 is one address"),
        ({"Pool": 7}, "Pool: not a valid string"),
        ({"Options": []}, "Options: not a valid mapping type"),
    ],
)
def test_a_pool_that_cannot_be_is_refused_in_the_user_s_words(
    dockerd: Dockerd, members: dict[str, Any], said: str
) -> None:
    assert dockerd.error("RequestPool", **members).startswith(said)


def test_addresses_that_cannot_be_had(dockerd: Dockerd) -> None:
    network = pool(dockerd, "10.0.0.0/30")
    dockerd("RequestAddress", PoolID=network, Options=GATEWAY)
    for wanted, said in [
        ("10.0.9.1", "10.0.9.1 is outside pool 10.0.0.0/30 (give one from 10.0.0.1 to 10.0.0.2)"),
        ("10.0.0.0", "10.0.0.0 is the network address"),
        ("10.0.0.3", "10.0.0.3 is the broadcast address"),
        ("10.0.0.1", "10.0.0.1 is the gateway"),
        ("fd00::1", "fd00::1 is not of the family"),
        ("nonsense", "Address: 'nonsense' is no IP address"),
    ]:
        assert dockerd.error("RequestAddress", PoolID=network, Address=wanted).startswith(said)
    dockerd("RequestAddress", PoolID=network)
    said = dockerd.error("RequestAddress", PoolID=network)
    assert "all 2 are taken" in said and "--subnet" in said


def test_messages_that_make_no_sense(dockerd: Dockerd) -> None:
    assert dockerd.error("RequestAddress") == "PoolID: missing data for required field"
    assert "is no pool of ciliate" in dockerd.error("RequestAddress", PoolID="pool/1")
    assert "is not known" in dockerd.error("RequestAddress", PoolID="10.9.0.0/24")
    assert "unknown kind" in dockerd.error(
        "RequestAddress", PoolID="10.9.0.0/24", Options={"RequestAddressType": "x"}
    )
    for body in (b"{", b"[]", b"\xff\x00", b"{" * 50_000):
        status, answer = dockerd.raw("RequestPool", body)
        assert status == 500 and answer["Err"].startswith("the request is")
    status, answer = dockerd.raw("RequestPool", b"{" + b" " * (2 << 20) + b"}")
    assert status == 500 and "larger than 1048576 bytes" in answer["Err"]


def test_a_fault_of_ciliate_is_an_answer_too(host: Any) -> None:
    def conflicts(_: object) -> str:
        raise RuntimeError("a secret")

    host.conflicts = conflicts
    app = Flask("test")
    app.register_blueprint(blueprint(host.start()))
    said = Dockerd(app.test_client()).error("RequestPool", Pool="10.0.0.0/24")
    assert said == "internal error of ciliate (RuntimeError); its log says more"


def test_an_address_takes_less_than_a_millisecond(new_host: Any, tmp_path: Path) -> None:
    host = new_host(own=SqliteStore(tmp_path / "node.db"), cluster=SqliteStore(tmp_path / "state.db"))
    app = Flask("test")
    app.register_blueprint(blueprint(host.start()))
    dockerd = Dockerd(app.test_client())
    network = pool(dockerd, "10.0.0.0/16")
    times = []
    for _ in range(300):
        started = time.perf_counter()
        dockerd("RequestAddress", PoolID=network, Address="", Options=None)
        times.append(time.perf_counter() - started)
    assert statistics.median(times) < 0.001
