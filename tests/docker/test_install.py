"""Two commands on a fresh machine: what `make run` installs, starts and says, and how to undo it.

The machine is a sandbox in which engine, BCC and nftables have been purged, without systemd."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.harness.commands import Result
from tests.docker.harness.relay import Relay
from tests.docker.harness.sandbox import Sandbox, wait_until
from tests.docker.harness.unixhttp import request
from tests.docker.harness.world import World
from tests.repo.test_tree import ROOT, tracked

pytestmark = pytest.mark.xdist_group("install")
"""One story in several acts, on one machine."""

PURGED = (
    "docker.io",
    "docker-ce",
    "containerd",
    "containerd.io",
    "runc",
    "docker-cli",
    "python3-bpfcc",
    "nftables",
)


class Machine:
    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.clone = sandbox.directory / "clone"
        for path in tracked():
            copy = self.clone / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)

    def make(self, target: str, *, check: bool = True) -> Result:
        return self.sandbox.run("make", target, cwd=self.clone, timeout=600, check=check)

    def run(self, *arguments: str, check: bool = True) -> Result:
        return self.sandbox.run(*arguments, check=check)

    def ready(self) -> bool:
        try:
            return request(self.sandbox.path("/run/ciliate/api.sock"), "GET", "/v1/healthz").status == 200
        except OSError:
            return False


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    sandbox = Sandbox()
    try:
        World.beyond(sandbox)
        sandbox.make_room_for_an_engine()
        with sandbox.path("/etc/fstab").open("a") as fstab:
            fstab.write(
                "# the engine's init script looks for the word cgroup here, and then mounts none\ncgroup\n"
            )
        installed = [
            name
            for name in PURGED
            if sandbox.run("dpkg-query", "-W", "-f", "${Status}", name, check=False).out.endswith("installed")
        ]
        if installed:
            sandbox.run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-y", "purge", *installed)
        sandbox.run("rm", "-f", "/usr/local/bin/docker")
        with Relay(sandbox):
            yield Machine(sandbox)
    finally:
        sandbox.close()


def test_make_run_sets_up_everything_and_says_what_to_do_next(machine: Machine) -> None:
    said = machine.make("run").out
    for step in (
        "installing python3-bpfcc",
        "installing docker.io",
        "compiling its programs, for this kernel and any later one",
        "starting the engine",
        "the agent is ready",
    ):
        assert f"ok  {step}" in said, said
    assert (
        said.rstrip().splitlines()[-3].strip()
        == "docker network create -d ciliate --ipam-driver ciliate mynet"
    )
    assert machine.ready()
    machine.run("docker", "network", "create", "-d", "ciliate", "--ipam-driver", "ciliate", "mynet")
    assert "mynet" in machine.run("docker", "network", "ls").out
    assert machine.run("ciliate", "status").status == 0
    record = machine.sandbox.path("/opt/ciliate/installed.txt").read_text().splitlines()
    assert "package docker.io" in record and "link /usr/local/bin/ciliate" in record


def test_again_it_installs_nothing_and_disturbs_nothing(machine: Machine) -> None:
    pid = machine.sandbox.path("/run/ciliate/agent.pid").read_text()
    settings = machine.sandbox.path("/etc/ciliate/ciliate.env")
    settings.write_text(settings.read_text() + "# mine\n")
    said = machine.make("run").out
    assert "installing" not in said
    assert "the engine: Docker" in said and "ciliate is installed and current" in said
    assert machine.sandbox.path("/run/ciliate/agent.pid").read_text() == pid
    assert settings.read_text().endswith("# mine\n")


def test_later_starts_need_neither_headers_nor_a_compiler(machine: Machine) -> None:
    machine.make("stop")
    machine.run("rm", "-rf", "/var/lib/ciliate/bpf-cache")
    machine.run("mkdir", "/run/nothing")
    hidden = ("/lib/modules", "/usr/src", "/usr/lib/python3/dist-packages/bcc")
    for place in hidden:
        machine.run("mount", "--bind", "/run/nothing", place)
    try:
        agent = machine.sandbox.start("ciliate-agent")
        wait_until(machine.ready, "the agent is ready")
        machine.make("stop")
        agent.wait(20)
    finally:
        machine.run("umount", *hidden)
    assert "the agent is ready" in machine.make("run").out


def test_make_demo_plays_the_story_and_removes_all_it_made(machine: Machine) -> None:
    shown = ("docker ps -aq", "docker image ls -q", "docker network ls -q", "ciliate policy get -o json")
    before = [machine.run(*command.split()).out for command in shown]
    said = machine.make("demo").out
    assert "hello from web" in said
    assert "the agent is ready" in said and "Next:" not in said
    drop = next(line for line in said.splitlines() if "monitor: " in line)
    assert "ciliate-demo-bad" in drop and "[role=guest]" in drop
    assert "ciliate-demo-web" in drop and "[app=ciliate-demo-web]" in drop and "Policy denied" in drop
    assert [machine.run(*command.split()).out for command in shown] == before


def test_a_demo_that_is_interrupted_removes_all_it_made(machine: Machine) -> None:
    demo = machine.sandbox.start("make", "demo", cwd=machine.clone)
    wait_until(lambda: "ciliate-demo-good" in machine.run("docker", "ps").out, "the demo has begun", 60)
    machine.run("pkill", "-INT", "-f", "packaging/demo.py")
    demo.wait(60)
    assert (
        "ciliate-demo"
        not in machine.run("docker", "ps", "-a").out + machine.run("docker", "network", "ls").out
    )


def test_make_stop_leaves_programs_and_policy_in_force(machine: Machine) -> None:
    pins = machine.run("find", "/sys/fs/bpf/ciliate").out
    assert "Policy stays in force" in machine.make("stop").out
    assert not machine.ready()
    assert machine.run("find", "/sys/fs/bpf/ciliate").out == pins
    assert "does not run" in machine.make("stop").out
    assert "the agent is ready" in machine.make("run").out


def test_uninstall_undoes_it(machine: Machine) -> None:
    script = str(machine.clone / "packaging/uninstall.sh")
    machine.run("docker", "network", "rm", "mynet")
    said = machine.run(script, "--purge").out
    assert "apt-get purge" in said and "docker.io" in said
    for path in (
        "/opt/ciliate",
        "/usr/local/bin/ciliate",
        "/etc/ciliate",
        "/var/lib/ciliate",
        "/sys/fs/bpf/ciliate",
    ):
        assert not machine.sandbox.path(Path(path)).exists(), path
    assert machine.run("getent", "group", "ciliate", check=False).status == 2
    assert machine.run(script, check=False).status == 1
