"""A Docker host: a sandbox with an uplink to the world, a real engine, and the agent of this checkout."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.docker.harness import image
from tests.docker.harness.agent_process import COMPILED, REPOSITORY, AgentProcess
from tests.docker.harness.capture import Capture
from tests.docker.harness.commands import Result
from tests.docker.harness.engine_process import EngineProcess, tail
from tests.docker.harness.engines import Engine
from tests.docker.harness.sandbox import Sandbox, wait_until
from tests.docker.harness.unixhttp import Answer, request
from tests.docker.harness.world import SPEAKER, World, ask

DRIVER = ("-d", "ciliate", "--ipam-driver", "ciliate")


_OTHERS = re.compile(r"proto kernel|docker0")
"""Lines of `traces` that are nobody's leftovers: routes that go with their addresses, and the engine's own bridge."""


class Host:
    def __init__(
        self,
        engine: Engine,
        *,
        engine_options: Sequence[str] = (),
        join: Callable[[Sandbox], World] = World.beyond,
    ) -> None:
        """`join` gives it its uplink."""
        for directory in COMPILED.values():
            directory.mkdir(parents=True, exist_ok=True)
        self.sandbox = Sandbox(COMPILED)
        try:
            self.sandbox.make_room_for_an_engine()
            self.world = join(self.sandbox)
            self.engine = EngineProcess(self.sandbox, engine, engine_options)
            self.agent = AgentProcess(self.sandbox)
        except BaseException:
            self.sandbox.close()
            raise
        self.version = engine.version

    def close(self) -> None:
        self.sandbox.close()

    def logs(self) -> str:
        return (
            f"--- agent\n{tail(self.agent.log, 80)}\n--- engine {self.version}\n{tail(self.engine.log)}\n"
            f"--- links\n{self.run('ip', '-br', 'address', check=False).out}"
        )

    def run(self, *arguments: str | Path, **options: Any) -> Result:
        return self.sandbox.run(*arguments, **options)

    # Docker

    def docker(self, *arguments: str, check: bool = True, timeout: float = 120.0) -> Result:
        return self.run("docker", *arguments, check=check, timeout=timeout)

    def load_images(self) -> None:
        """`box` (a static busybox) and `machine` (this machine's /usr, to be mounted by the run)."""
        for name, content in (("box", image.box()), ("machine", image.machine())):
            archive = self.sandbox.directory / f"{name}.tar"
            archive.write_bytes(content)
            self.docker("import", "-c", 'CMD ["sleep", "1000000"]', str(archive), name)
            archive.unlink()

    def load_sprinter(self) -> None:
        """`sprint`: an image that holds sprint.c alone, whose container sends from its first instruction."""
        program = self.sandbox.directory / "sprint"
        source = Path(__file__).with_name("sprint.c")
        subprocess.run(["cc", "-static", "-O2", "-o", program, source], check=True)
        archive = self.sandbox.directory / "sprint.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(program, "sprint")
        self.docker("import", "-c", 'ENTRYPOINT ["/sprint"]', str(archive), "sprint")

    def network(self, name: str, *options: str) -> str:
        """A ciliate network; returns Docker's id of it."""
        return self.docker("network", "create", *DRIVER, *options, name).out.strip()

    def start(self, name: str, *options: str, image: str = "box", command: Sequence[str] = ()) -> str:
        """A container in the background; returns its id."""
        fixed = ("--name", name, "-h", name, "--stop-signal", "KILL")  # a stop waits for nobody
        return self.docker("run", "-d", *fixed, *options, image, *command).out.strip()

    def serve(self, name: str, *options: str, ports: Sequence[int] = (80,)) -> str:
        """A container that answers on `ports` with its name and the asker's address (speaker.py). It answers when this
        returns."""
        number = self.start(name, *options, *speaker_mount(), image="machine", command=speaker_serves(ports))
        wait_until(lambda: self.ask(name, "tcp", "127.0.0.1", ports[0]), f"{name} answers itself")
        return number

    def caller(self, name: str, *options: str) -> str:
        """A container that idles, from which `ask` can be used."""
        return self.start(name, *options, *speaker_mount(), image="machine")

    def ask(self, asker: str, protocol: str, address: str, port: int, *, seconds: float = 2.0) -> str:
        """What the speaker at `address`:`port` answers to the container `asker` ("" for nothing)."""
        return ask(self.sandbox, ("docker", "exec", asker), protocol, address, port, seconds, "/speaker.py")

    def ask_from_host(self, protocol: str, address: str, port: int, *, seconds: float = 2.0) -> str:
        return ask(self.sandbox, (), protocol, address, port, seconds)

    def sends_much(self, sender: str, address: str, port: int) -> bool:
        """Do a large datagram and a long stream of the container arrive?"""
        large = ("exec", sender, "python3", "/speaker.py", "large", address, str(port))
        return self.docker(*large, check=False).status == 0

    def pings(self, name: str, target: str, *, count: int = 1, seconds: int = 2) -> bool:
        ping = ("/bin/busybox", "ping", "-6" if ":" in target else "-4")
        done = self.docker(*("exec", name, *ping, "-c", str(count), "-W", str(seconds), target), check=False)
        return done.status == 0

    def inspect(self, name: str) -> Any:
        return json.loads(self.docker("inspect", name).out)[0]

    def address(self, container: str, network: str, *, version: int = 4) -> str:
        settings = self.inspect(container)["NetworkSettings"]["Networks"][network]
        return str(settings["IPAddress" if version == 4 else "GlobalIPv6Address"])

    def remove(self, *containers: str) -> None:
        if containers:
            self.docker("rm", "-f", *containers)

    def empty(self) -> None:
        """Removes every container, network and rule."""
        self.remove(*self.docker("ps", "-aq").lines)
        if networks := self._networks():
            removed = self.docker("network", "rm", *networks, check=False)
            if "has active endpoints" in removed.err and self.version == "20.10":
                # When many end at once this engine can lose count, on its own bridge too (moby issue 42119). It counts
                # anew when it starts.
                assert self.api("GET", "/v1/endpoint") == []
                self.engine.restart()
            if networks := self._networks():
                self.docker("network", "rm", *networks)
        self.docker("volume", "prune", "-f")
        self.api("DELETE", "/v1/policy")

    def _networks(self) -> list[str]:
        return self.docker("network", "ls", "-q", "--filter", "type=custom").lines

    def compose(self, directory: Path, *arguments: str, version: int = 2, check: bool = True) -> Result:
        """`directory` is the project's, as seen in the sandbox."""
        program = ["docker-compose"] if version == 1 else ["docker", "compose"]
        return self.run(*program, *arguments, cwd=directory, check=check, timeout=180)

    # ciliate

    def api(self, method: str, url: str, body: object = None, *, status: int | None = 200) -> Any:
        """The answer's JSON, after checking its status (None: the Answer itself)."""
        answer: Answer = self.agent.api(method, url, body)
        if status is None:
            return answer
        assert answer.status == status, f"{method} {url}: {answer.status} {answer.text}"
        return answer.json

    def policy(self, *rules: Mapping[str, Any]) -> int:
        """Replaces all rules; returns the revision in force."""
        self.api("DELETE", "/v1/policy")
        return int(self.api("PUT", "/v1/policy?wait=5", list(rules))["revision"]) if rules else 0

    def ciliate(self, *arguments: str, check: bool = True) -> Result:
        return self.run(sys.executable, "-m", "cli.main", *arguments, cwd=REPOSITORY, check=check)

    def endpoints(self) -> dict[str, Any]:
        """By container name. Only for containers with one ciliate network."""
        return {endpoint["container_name"]: endpoint for endpoint in self.api("GET", "/v1/endpoint")}

    def flows(self, query: str = "") -> list[Any]:
        """What the datapath told, oldest first."""
        answer = request(self.sandbox.path("/run/ciliate/observe.sock"), "GET", f"/v1/flows?{query}")
        assert answer.status == 200, answer.text
        return [json.loads(line) for line in answer.text.splitlines()]

    # Looking

    def links(self) -> list[str]:
        """The host's ends of containers' links, without those that are in stock for the next ones."""
        names = (line.split()[0].split("@")[0] for line in self.run("ip", "-br", "link").lines)
        return [name for name in names if name.startswith("cl") and "spare" not in name]

    @contextmanager
    def capture(self, interface: str, expression: str = "", *, namespace: str = "") -> Iterator[Capture]:
        with Capture.on(self.sandbox, interface, expression, namespace) as capture:
            yield capture

    def traces(self) -> dict[str, tuple[str, ...]]:
        """What a network driver could leave behind, for comparing before and after. Counters and handles that change by
        themselves are not in it."""
        looks = {
            "links": ("ip", "-o", "-br", "link"),
            "addresses": ("ip", "-o", "-br", "address"),
            "routes": ("ip", "route", "show", "table", "all"),
            "routes6": ("ip", "-6", "route", "show", "table", "all"),
            "neighbours": ("ip", "neighbour", "show", "nud", "permanent"),
            "nftables": ("nft", "-s", "list", "ruleset"),
            "pins": ("find", "/sys/fs/bpf", "-mindepth", "1"),
            "run": ("find", "/run", "-mindepth", "1", "-path", "*ciliate*"),
            "sysctls": ("sysctl", "-e", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"),
        }
        return {
            what: tuple(sorted(line for line in self.run(*command).lines if not _OTHERS.search(line)))
            for what, command in looks.items()
        }

    def path(self, inside: str) -> Path:
        return self.sandbox.path(inside)

    def until(self, condition: Callable[[], object], what: str, seconds: float = 20.0) -> None:
        wait_until(condition, what, seconds)

    def settle(self, seconds: float = 0.3) -> None:
        """For what must not happen there is nothing to wait for but time."""
        time.sleep(seconds)


def speaker_mount() -> tuple[str, ...]:
    return (*image.MACHINE_MOUNT, "-v", f"{SPEAKER}:/speaker.py:ro")


def speaker_serves(ports: Sequence[int]) -> tuple[str, ...]:
    return ("python3", "/speaker.py", "serve", *map(str, ports))
