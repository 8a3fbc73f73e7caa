"""Whom the engine's DNS asks, by the files of the host, the engine and the container."""

from __future__ import annotations

from pathlib import Path

import pytest

from driver.resolvers import Read, of_container, of_engine, of_host


def reading(files: dict[str, str]) -> Read:
    return lambda path: files.get(str(path), "")


def test_servers_behind_systemd_resolved() -> None:
    files = {
        "/etc/resolv.conf": "# stub\nnameserver 127.0.0.53\noptions edns0\n",
        "/run/systemd/resolve/resolv.conf": "nameserver 192.0.2.7\nnameserver 2001:db8::7\n",
    }

    read = reading(files)
    assert of_host(read) == ("192.0.2.7", "2001:db8::7")
    del files["/run/systemd/resolve/resolv.conf"]
    assert of_host(read) == ("127.0.0.53",)
    files["/etc/resolv.conf"] = "nameserver 127.0.0.1\n"
    assert of_host(read) == ("127.0.0.1",)
    assert of_host(lambda _path: "") == ()


CONFIGURED = {"/etc/docker/daemon.json": '{"dns": ["192.0.2.53", "192.0.2.54"]}'}


def engine(*arguments: str) -> dict[str, str]:
    return {"/run/docker.pid": "71\n", "/proc/71/cmdline": "\0".join(["/usr/bin/dockerd", *arguments, ""])}


@pytest.mark.parametrize(
    ("files", "servers"),
    [
        ({}, ()),
        (CONFIGURED, ("192.0.2.53", "192.0.2.54")),
        (CONFIGURED | engine("-H", "fd://"), ("192.0.2.53", "192.0.2.54")),
        (engine("--dns", "192.0.2.1", "--dns=192.0.2.2"), ("192.0.2.1", "192.0.2.2")),
        (CONFIGURED | engine("--config-file", "/else.json"), ()),
        (engine("--config-file=/else.json") | {"/else.json": '{"dns": ["192.0.2.9"]}'}, ("192.0.2.9",)),
        ({"/etc/docker/daemon.json": '{"dns-opts": ["ndots:1"]}'}, ()),
        ({"/etc/docker/daemon.json": '{"dns": null}'}, ()),
        ({"/etc/docker/daemon.json": "no JSON"}, ()),
        ({"/run/docker.pid": "../self"}, ()),
    ],
)
def test_what_the_engine_was_told(files: dict[str, str], servers: tuple[str, ...]) -> None:
    assert of_engine(reading(files)) == servers


def test_what_a_container_was_told() -> None:
    place = "/var/lib/docker/containers/abc/hostconfig.json"
    for text, servers in (('{"Dns": ["192.0.2.1"]}', ("192.0.2.1",)), ('{"Dns": []}', ()), ("", ())):
        assert of_container(reading({place: text}), Path("/var/lib/docker"), "abc") == servers
