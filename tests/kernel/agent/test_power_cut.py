"""A policy that was answered 200 is on the disk by then: the power fails as soon as the answer is there.

The state is on a disk of its own, which is told to stop as a power cut stops it (see tests/kernel/store)."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import require
from tests.docker.harness.sandbox import wait_until
from tests.kernel.agent.host import Host

DISK = "/srv"

SHUTDOWN, WITHOUT_FLUSHING = 0x8004587D, 2
"""EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH."""

RULE = {
    "endpointSelector": {"matchLabels": {"role": "web"}},
    "ingress": [{"fromEndpoints": [{"matchLabels": {"role": "client"}}]}],
    "labels": ["name=web"],
}


class Disk:
    """With the compiled programs that all sandboxes share where the agent looks for them."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.image = host.sandbox.directory / "disk"
        with self.image.open("wb") as image:
            image.truncate(64 << 20)
        host.run("mkfs.ext4", "-q", "-F", str(self.image))
        self.mount()

    def mount(self) -> None:
        self.host.run("mount", "-o", "loop", str(self.image), DISK)
        self.host.run("mkdir", "-p", f"{DISK}/bpf-cache")
        self.host.run("mount", "--bind", "/var/lib/ciliate/bpf-cache", f"{DISK}/bpf-cache")

    def unmount(self) -> None:
        """Once those who were killed are gone."""
        for place in (f"{DISK}/bpf-cache", DISK):
            wait_until(
                lambda place=place: self.host.run("umount", place, check=False).status == 0,
                f"{place} is free",
            )

    def start_agent(self) -> None:
        self.host.agent.start({"CILIATE_STATE_DIR": DISK})


@pytest.fixture
def disk() -> Iterator[Disk]:
    require(os.geteuid() == 0, "root, to mount a disk")
    require(shutil.which("mkfs.ext4") is not None, "mkfs.ext4")
    require(Path("/dev/loop-control").exists(), "loop devices")
    host = Host()
    try:
        disk = Disk(host)
        yield disk
        host.run("kill", "-9", "-1", check=False)
        disk.unmount()
    finally:
        host.close()


def test_an_answered_policy_survives_a_power_cut(disk: Disk) -> None:
    host = disk.host
    disk.start_agent()
    root = os.open(host.sandbox.path(DISK), os.O_RDONLY)
    try:
        plain = host.sandbox.path(f"{DISK}/plain")
        plain.write_bytes(b"x" * 100)
        host.api("PUT", "/v1/policy", [RULE])
        host.api("PUT", "/v1/policy/name/base", [{**RULE, "labels": ["name=base"]}])
        fcntl.ioctl(root, SHUTDOWN, struct.pack("I", WITHOUT_FLUSHING))
    finally:
        os.close(root)
    host.run("kill", "-9", "-1", check=False)
    disk.unmount()
    host.run("sh", "-c", "rm -rf /run/* && umount /sys/fs/bpf && mount -t bpf bpf /sys/fs/bpf")

    disk.mount()
    assert host.sandbox.path(f"{DISK}/plain").read_bytes() == b"", "the page cache survived: no power cut"
    disk.start_agent()
    shown = host.api("GET", "/v1/policy")["policy"]
    assert sorted(rule["labels"][0] for rule in shown) == ["name=base", "name=web"]
    web = host.container(1, host.network(), ["role=web"])
    identity = host.endpoints()[web]["identity"]
    rows = [row["key"] for row in host.api("GET", "/v1/map/policies")]
    rows = [key for key in rows if key["identity"] == identity and key["direction"] == "ingress"]
    assert rows == [], "in force: nobody may reach web, because no client is there"
    enforcement = host.endpoints()[web]["enforcement"]
    assert (enforcement["ingress"], enforcement["egress"]) == (True, False)
