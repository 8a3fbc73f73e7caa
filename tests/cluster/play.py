"""Three hosts to play with: `python -m tests.cluster.play up` and `down`; `make cluster-up` and `make cluster-down`.

A keeper in the background holds the bed. When it ends, however it ends, the bed ends with it."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

from tests.archive import CannotFetch
from tests.cluster.harness.bed import Bed
from tests.cluster.harness.node import Node
from tests.docker.harness.agent_process import REPOSITORY
from tests.docker.harness.engines import consul, fetch
from tests.docker.harness.lending import NEWEST
from tests.docker.harness.reader import furnish

FOLDER = REPOSITORY / "build" / "cluster"

READY = b"ready\n"

ENTRANCE = """#!/bin/sh
# {name}: any command on this host; without one, a shell.
[ $# -gt 0 ] || set -- bash
exec {command} "$@"
"""

WELCOME = """
Three hosts run, each with Docker {version}, a Consul server and ciliate: {hosts}.

  {folder}/a                a shell on host a
  {folder}/a docker ps      one command there; ciliate and consul, too
  make cluster-down              removes all of it

docs/guide/cluster.md says what to do with them."""


def up(folder: Path) -> int:
    if _keeper(folder) is not None:
        print("they are up already; make cluster-down removes them")
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    log = folder / "log"
    with log.open("wb") as output:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "tests.cluster.play", "keep", str(folder)],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for us, who end it in order
        )
    assert keeper.stdout is not None
    try:
        ready = keeper.stdout.readline() == READY
    except BaseException:
        keeper.terminate()
        keeper.wait()
        raise
    if not ready:
        print(f"{log.read_text()}\nthe hosts could not be made: see above", file=sys.stderr)
        return 1
    hosts = ", ".join(path.name for path in sorted(folder.glob("?")))
    print(WELCOME.format(version=NEWEST, hosts=hosts, folder=_short(folder)))
    return 0


def down(folder: Path) -> int:
    keeper = _keeper(folder)
    if keeper is None:
        print("no hosts are up")
    else:
        os.kill(keeper, signal.SIGTERM)
        while _keeper(folder) is not None:
            time.sleep(0.05)
        print("all is removed")
    shutil.rmtree(folder, ignore_errors=True)
    return 0


def keep(folder: Path) -> int:
    """Until it is told to end."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _end)
    (folder / "keeper.pid").write_text(str(os.getpid()))
    try:
        with Bed.made(fetch(NEWEST)) as bed:
            bed.each(lambda node: _furnish(node, folder))
            sys.stdout.buffer.write(READY)
            sys.stdout.flush()  # whoever is gone by now wanted none
            while True:
                signal.pause()
    except CannotFetch as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        (folder / "keeper.pid").unlink(missing_ok=True)


def _end(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough: what is under way then is to be removed
    raise SystemExit(0)


def _furnish(node: Node, folder: Path) -> None:
    node.start_agent()
    furnish(node)
    node.run("ln", "-sfn", consul(), "/usr/local/bin/consul")
    command = node.sandbox.command("env", cwd="/root", env={"TERM": os.environ.get("TERM", "dumb")})
    entrance = folder / node.name
    entrance.write_text(ENTRANCE.format(name=node.name, command=shlex.join(command)))
    entrance.chmod(0o755)


def _keeper(folder: Path) -> int | None:
    """Its pid, if it lives."""
    with suppress(OSError, ValueError):
        pid = int((folder / "keeper.pid").read_text())
        if b"tests.cluster.play" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    return None


def _short(folder: Path) -> Path:
    return folder.relative_to(REPOSITORY) if folder.is_relative_to(REPOSITORY) else folder


def main(what: str, folder: Path = FOLDER) -> int:
    if os.geteuid() != 0:
        print("run it as root: it makes namespaces", file=sys.stderr)
        return 1
    return {"up": up, "down": down, "keep": keep}[what](folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *map(Path, sys.argv[2:])))
