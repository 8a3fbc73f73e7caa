"""A real Consul server in a sandbox: one of a cluster, or a cluster of its own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.docker.harness.commands import Result
from tests.docker.harness.engine_process import tail
from tests.docker.harness.sandbox import Sandbox, wait_until

RAFT, GOSSIP, HTTP = 8300, 8301, 8500

QUICK = {
    "performance": {"raft_multiplier": 2},  # with 1 a busy machine's servers elect all the time
    "disable_update_check": True,
    "disable_host_node_id": True,  # several servers on one machine
    "skip_leave_on_interrupt": True,
    "ports": {"dns": -1, "grpc": -1, "serf_wan": -1},
    "log_level": "WARN",
}


class ConsulServer:
    """Listens to the others on `address`, to clients on the loopback addresses and port 8500."""

    def __init__(
        self,
        sandbox: Sandbox,
        program: Path,
        address: str = "127.0.0.1",
        servers: Sequence[str] = (),
        configuration: Mapping[str, Any] | None = None,
    ) -> None:
        """`servers`: the addresses of all, this one's among them; `configuration`: as Consul's own files say it."""
        self._sandbox = sandbox
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self.address = address
        self.directory = sandbox.directory / "consul"
        self.directory.mkdir()
        self.log = self.directory / "log"
        others = [server for server in servers if server != address]
        cluster = {
            "server": True,
            "node_name": f"consul-{address}",
            "data_dir": str(self.directory / "data"),
            "bind_addr": address,
            "client_addr": "127.0.0.1",
            "bootstrap_expect": len(others) + 1,
            "retry_join": others,
            "retry_interval": "1s",
        }
        (self.directory / "server.json").write_text(json.dumps({**QUICK, **cluster, **(configuration or {})}))

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = self._sandbox.start(
                self._program, "agent", "-config-file", self.directory / "server.json", log=log
            )

    def wait_ready(self, seconds: float = 30.0) -> None:
        """Until it answers and knows a leader."""
        try:
            wait_until(self.leader, "consul has a leader", seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{tail(self.log)}") from None

    def kill(self) -> None:
        """As a crash would."""
        assert self._process is not None
        self._sandbox.end(self._process)

    def leader(self) -> str:
        """Address of the leader as far as this server knows it; "" for none, or no answer."""
        return self.get("/v1/status/leader", "").partition(":")[0]

    def leads(self) -> bool:
        return self.leader() == self.address

    def get(self, path: str, otherwise: Any = None) -> Any:
        """JSON; `otherwise` for no answer or an error."""
        curl = ("curl", "-sSf", "--noproxy", "*", "-m", "2", f"http://127.0.0.1:{HTTP}{path}")
        done = self._sandbox.run(*curl, check=False)
        return json.loads(done.out) if done.status == 0 else otherwise

    def run(self, *arguments: str, check: bool = True) -> Result:
        """`consul ARGUMENTS`, as an operator would."""
        return self._sandbox.run(self._program, *arguments, check=check)
