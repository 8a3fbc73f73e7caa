"""Every option is honoured or refused, and a refusal helps."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address
from typing import Any

import pytest

from driver.options import (
    GENERIC,
    PORT_MAP,
    EndpointOptions,
    NetworkOptions,
    PortBinding,
    endpoint_options,
    network_options,
    option_labels,
    port_bindings,
    refuse_labels,
    tag_labels,
)
from model.errors import CiliateError, InvalidInput, Unsupported
from model.labels import Labels


def network(**options: str) -> dict[str, Any]:
    """As dockerd sends `-o key=value`; an underscore stands for a dot."""
    return {
        "com.docker.network.enable_ipv6": True,
        GENERIC: {k.replace("_", "."): v for k, v in options.items()},
    }


def test_a_network_without_options_is_ordinary() -> None:
    for given in (None, {}, {GENERIC: None}, {GENERIC: {}, "com.docker.network.enable_ipv6": False}):
        assert network_options(given) == NetworkOptions()


def test_every_option_of_a_network() -> None:
    given = {
        "com.docker.network.internal": True,
        GENERIC: {
            "ciliate.network": "payments",
            "ciliate.flat": "false",
            "ciliate.enforcement": "always",
            "ciliate.host": "false",
            "ciliate.world": "0",
            "ciliate.labels": "tier=backend, stage=prod",
            "ciliate.mtu": "1400",
            "com.docker.network.bridge.host_binding_ipv4": "127.0.0.1",
            "com.docker.network.bridge.enable_icc": "False",
        },
    }
    assert network_options(given) == NetworkOptions(
        id="payments",
        flat=False,
        internal=True,
        enforcement_always=True,
        host=False,
        world=False,
        inter_container=False,
        mtu=1400,
        publish_ip=IPv4Address("127.0.0.1"),
        labels=Labels.parse(["opt:tier=backend", "opt:stage=prod"]),
    )


def test_the_mtu_has_two_names_which_may_not_disagree() -> None:
    assert network_options({GENERIC: {"com.docker.network.driver.mtu": "9000"}}).mtu == 9000
    both = {"com.docker.network.driver.mtu": "9000", "ciliate.mtu": "9000"}
    assert network_options({GENERIC: both}).mtu == 9000
    with pytest.raises(InvalidInput, match="two different MTUs"):
        network_options({GENERIC: {**both, "ciliate.mtu": "1400"}})


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("ciliate.flot", "true", "did you mean ciliate.flat"),
        ("nonsense", "1", "known are ciliate.enforcement"),
        ("ciliate.flat", "perhaps", "neither true nor false"),
        ("ciliate.enforcement", "sometimes", "always"),
        ("ciliate.mtu", "12", "68"),
        ("ciliate.mtu", "many", "many"),
        ("ciliate.network", "no spaces", "letters"),
        ("ciliate.network", "flat", "ciliate.flat=true"),
        ("ciliate.labels", "reserved:host=1", "source opt"),
        ("ciliate.labels", "ciliate.tag=x", "options, not labels"),
        ("com.docker.network.bridge.host_binding_ipv4", "::1", "::1"),
    ],
)
def test_what_is_wrong_is_named(key: str, value: str, says: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        network_options({GENERIC: {key: value}})
    assert caught.value.path == key
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("ciliate.egress", "not available yet"),
        ("ciliate.bandwidth.egress", "not available yet"),
        ("com.docker.network.bridge.name", "no bridge"),
        ("com.docker.network.bridge.enable_ip_masquerade", "CILIATE_MASQUERADE"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(key: str, says: str) -> None:
    with pytest.raises(Unsupported) as caught:
        network_options({GENERIC: {key: "x"}})
    assert caught.value.path == key and says in str(caught.value)


def test_a_flat_network_has_no_id() -> None:
    with pytest.raises(InvalidInput, match="flat network"):
        network_options(network(ciliate_flat="true", ciliate_network="x"))


def test_driver_opts_lie_beside_the_engines_own_keys() -> None:
    given = {
        "com.docker.network.endpoint.exposedports": [{"Proto": 6, "Port": 80}],
        PORT_MAP: [],
        "com.docker.network.of.the.future": {"not": "text"},
        "com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.log_martians=1",
        "ciliate.labels": "role=ok",
        "ciliate.tag": "canary,blue,canary",
    }
    assert endpoint_options(given) == EndpointOptions(Labels.parse(["opt:role=ok"]), ("canary", "blue"))
    assert endpoint_options(None) == EndpointOptions()


@pytest.mark.parametrize(
    ("key", "error", "says"),
    [
        ("ciliate.lables", InvalidInput, "did you mean ciliate.labels"),
        ("com.docker.network.endpoint.ifname", Unsupported, "does not pass the name on"),
        ("ciliate.bandwidth.ingress", Unsupported, "not available yet"),
        ("com.docker.network.driver.mtu", InvalidInput, "no such endpoint option"),
    ],
)
def test_an_endpoint_option_that_cannot_be(key: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        endpoint_options({key: "x"})


def test_port_maps() -> None:
    item = {"Proto": 6, "IP": "", "Port": 80, "HostIP": "", "HostPort": 8080, "HostPortEnd": 8080}
    assert port_bindings({PORT_MAP: [item]}) == (PortBinding("tcp", 80, None, 8080, 8080),)
    ranged = {**item, "Proto": 17, "HostIP": "::1", "HostPortEnd": 8090}
    assert port_bindings({PORT_MAP: [ranged]}) == (PortBinding("udp", 80, ip_address("::1"), 8080, 8090),)
    empty: list[dict[str, Any] | None] = [None, {}, {PORT_MAP: None}, {PORT_MAP: []}]
    for nothing in empty:
        assert port_bindings(nothing) == ()
    assert port_bindings({PORT_MAP: [{**item, "HostPort": 0, "HostPortEnd": 0}]})[0].host_port == 0
    with pytest.raises(Unsupported, match="protocol 47"):
        port_bindings({PORT_MAP: [{**item, "Proto": 47}]})


@pytest.mark.parametrize(
    ("key", "error", "says"),
    [
        ("ciliate.egress", Unsupported, "not available yet"),
        ("ciliate.bandwidth.egress", Unsupported, "not available yet"),
        ("ciliate.labels", InvalidInput, "driver-opt=ciliate.labels"),
        ("ciliate.host", InvalidInput, "docker network create -o ciliate.host"),
        ("ciliate.tga", InvalidInput, "did you mean ciliate.tag"),
        ("ciliate.something", InvalidInput, "known is ciliate.tag"),
    ],
)
def test_labels_that_ask_for_what_cannot_be_are_no_decoration(
    key: str, error: type[CiliateError], says: str
) -> None:
    with pytest.raises(error) as caught:
        refuse_labels({"app": "web", key: "x"})
    assert caught.value.path == f"label {key}" and says in str(caught.value)


def test_labels_of_containers() -> None:
    refuse_labels({"app": "web", "ciliate.tag": "x", "ciliate": "x", "my.ciliate.egress": "x"})
    assert tag_labels({"ciliate.tag": "a, b"}) == ("a", "b")
    assert tag_labels({}) == ()


def test_a_value_may_hold_an_equals_sign() -> None:
    assert option_labels("a=b=c,d") == Labels.parse(["opt:a=b=c", "opt:d"])


@pytest.mark.parametrize(
    "item",
    [
        {"Proto": 6, "HostPort": 80},
        {"Proto": 6, "Port": 80, "HostIP": "10.0.0.0/8"},
        {"Proto": 6, "Port": [80]},
        {"Proto": [6], "Port": 80},
        "80:80",
    ],
)
def test_a_port_map_of_another_form_is_refused(item: object) -> None:
    with pytest.raises(InvalidInput, match="port map"):
        port_bindings({PORT_MAP: [item]})
