"""Settings are right, or the agent does not start and lists every problem at once."""

from __future__ import annotations

import re
import socket
from dataclasses import fields
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from agent.settings import SETTINGS, Settings, from_environment
from model.errors import InvalidInput
from store.consul_address import ConsulAddress

ROOT = Path(__file__).resolve().parents[3]


def test_nothing_need_be_set() -> None:
    settings = from_environment({})
    assert settings.node == socket.gethostname()
    assert settings.plugin_socket == Path("/run/docker/plugins/ciliate.sock")
    assert settings.api_socket == Path("/run/ciliate/api.sock")
    assert settings.given == frozenset()
    assert settings.texts == {setting.name: setting.default for setting in SETTINGS}


def test_what_is_set_is_believed() -> None:
    given = {
        "CILIATE_NODE": "one",
        "CILIATE_POOL": "172.20.0.0/14",
        "CILIATE_NODE_PREFIX": "22",
        "CILIATE_MASQUERADE": "No",
        "CILIATE_LABELS": "app, compose: !app.build",
        "CILIATE_DEVICES": "eth0,eth1",
        "CILIATE_PUBLISH_IP": "192.0.2.1",
        "DOCKER_HOST": "tcp://127.0.0.1:2375",
    }
    settings = from_environment({**given, "PATH": "/bin", "LANG": "C"})
    assert settings.node == "one"
    assert settings.pool == IPv4Network("172.20.0.0/14")
    assert settings.node_prefix == 22
    assert settings.masquerade is False
    assert settings.labels == ("app", "compose:", "!app.build")
    assert settings.devices == ("eth0", "eth1")
    assert settings.publish_ip == IPv4Address("192.0.2.1")
    assert settings.given == given.keys()


def test_what_is_empty_is_not_set() -> None:
    """A file of settings, and a managed plugin, have every name with nothing behind it."""
    assert from_environment({setting.name: "" for setting in SETTINGS}) == from_environment({})


def test_consul_is_named_by_its_address_and_spoken_to_over_tls_when_certificates_are_given() -> None:
    assert from_environment({}).consul is None
    plain = from_environment({"CILIATE_STORE": "consul://consul.example", "CILIATE_CONSUL_TOKEN": "s3cret"})
    assert plain.consul == ConsulAddress("consul.example", 8500, token="s3cret")
    assert "s3cret" not in str(plain.texts)
    secured = {
        "CILIATE_STORE": "consul://[::1]:8501",
        "CILIATE_CONSUL_TOKEN_FILE": "/run/token",
        "CILIATE_CONSUL_CACERT": "/etc/ca.pem",
        "CILIATE_CONSUL_CLIENT_CERT": "/etc/node.pem",
        "CILIATE_CONSUL_CLIENT_KEY": "/etc/node.key",
    }
    assert from_environment(secured).consul == ConsulAddress(
        "::1",
        8501,
        tls=True,
        ca=Path("/etc/ca.pem"),
        certificate=Path("/etc/node.pem"),
        key=Path("/etc/node.key"),
        token_file=Path("/run/token"),
    )


@pytest.mark.parametrize(
    ("given", "complaints"),
    [
        ({"CILIATE_STORE": "etcd://x"}, ["neither sqlite"]),
        ({"CILIATE_STORE": "consul://x:99999"}, ["CILIATE_STORE: Port out of range"]),
        ({"CILIATE_STORE": "consul://x/kv"}, ["neither sqlite"]),
        (
            {"CILIATE_CONSUL_TOKEN": "x", "CILIATE_CONSUL_CACERT": "/x"},
            ["TOKEN: the store is sqlite", "CACERT: the"],
        ),
        (
            {
                "CILIATE_STORE": "consul://x",
                "CILIATE_CONSUL_TOKEN": "x",
                "CILIATE_CONSUL_TOKEN_FILE": "/x",
                "CILIATE_CONSUL_CLIENT_KEY": "/x",
            },
            ["give one of them", "go together"],
        ),
    ],
)
def test_what_does_not_fit_consul_is_told(given: dict[str, str], complaints: list[str]) -> None:
    with pytest.raises(InvalidInput) as refusal:
        from_environment(given)
    for complaint in complaints:
        assert complaint in refusal.value.message


def test_every_problem_is_told_at_once() -> None:
    wrong = {
        "CILIATE_POOL": "10.0.0.0/33",
        "CILIATE_POOL6": "fd00::/64",
        "CILIATE_NODE_PREFIX6": "60",
        "CILIATE_MASQUERADE": "perhaps",
        "CILIATE_ENCRYPTION": "wireguard",
        "CILIATE_POOLS": "10.0.0.0/8",
        "CILIATE_RUN_DIR": "/" + "x" * 200,
    }
    with pytest.raises(InvalidInput) as refused:
        from_environment(wrong)
    lines = refused.value.message.splitlines()[1:]
    assert {line.split(":")[0].strip() for line in lines} == wrong.keys() - {"CILIATE_POOL6"}


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("CILIATE_STORE", "consul:host:8500", "neither sqlite"),
        ("CILIATE_CLUSTER", "a b", "no name"),
        ("CILIATE_NODE", "a/b", "no name"),
        ("CILIATE_POOL", "10.0.0.1/8", "host bits"),
        ("CILIATE_POOL", "224.0.0.0/8", "no addresses for containers"),
        ("CILIATE_POOL", "127.0.0.0/8", "no addresses for containers"),
        ("CILIATE_POOL", "0.0.0.0/0", "no addresses for containers"),
        ("CILIATE_POOL6", "fe80::/64", "no addresses for containers"),
        ("CILIATE_POOL6", "10.0.0.0/8", "At least 3 parts"),
        ("CILIATE_NODE_PREFIX", "8", "does not fit"),
        ("CILIATE_NODE_PREFIX", "31", "from 8 to 30"),
        ("CILIATE_NODE_PREFIX", "-1", "no whole number"),
        ("CILIATE_MTU", "67", "too small"),
        ("CILIATE_MTU", "65536", "no whole number"),
        ("CILIATE_MTU", "²", "no whole number"),
        ("CILIATE_DEVICES", "eth0 averyveryverylongname", "no name of a device"),
        ("CILIATE_LABELS", "app !", "excludes nothing"),
        ("CILIATE_POLICY_ENFORCEMENT", "sometimes", "default, always, never"),
        ("CILIATE_POLICY_AUDIT", "perhaps", "neither true nor false"),
        ("CILIATE_PUBLISH_IP", "::1", "Expected 4 octets"),
        ("CILIATE_STATE_DIR", "state", "no absolute path"),
        ("CILIATE_ROUTING", "gre", "cannot carry identity"),
        ("CILIATE_ROUTING", "ipip", "cannot carry identity"),
        ("CILIATE_ROUTING", "carrier pigeon", "none of vxlan, geneve, native"),
        ("CILIATE_TUNNEL_PORT", "0", "from 1 to 65535"),
        ("CILIATE_XDP", "native", "not available yet"),
        ("CILIATE_NODE_IP", "2001:db8::1", "2001:db8::1"),
        ("CILIATE_LOG_LEVEL", "loud", "debug, info, warning, error"),
        ("DOCKER_HOST", "ssh://elsewhere", "neither unix:///path nor tcp"),
        ("DOCKER_HOST", "/var/run/docker.sock", "neither unix:///path nor tcp"),
    ],
)
def test_a_wrong_value_is_refused_with_the_reason(name: str, text: str, problem: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(problem)) as refused:
        from_environment({name: text})
    assert name in refused.value.message


def test_what_is_not_built_yet_may_be_set_to_what_it_is_anyway() -> None:
    unbuilt = {setting.name: setting.default for setting in SETTINGS if setting.unbuilt}
    assert unbuilt
    from_environment(unbuilt)


def test_every_setting_is_a_value_or_not_built_yet() -> None:
    """A setting that nobody reads would be ignored silently."""
    values = {field.name for field in fields(Settings)} - {"texts", "given"}
    names = {setting.name.removeprefix("CILIATE_").lower() for setting in SETTINGS if not setting.unbuilt}
    assert values == names


def test_the_packaged_file_names_settings_that_exist() -> None:
    text = (ROOT / "packaging/ciliate.env").read_text()
    named = set(re.findall(r"^#?\s*([A-Z_]+)=", text, re.MULTILINE))
    assert named and named <= {setting.name for setting in SETTINGS}
