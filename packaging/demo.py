"""demo.py: a network, a web server, two clients that differ in a label, and a policy.

Runs the commands that a user would type, shows them and what they say, and fails if one turns out otherwise than told.
Standard library only. Everything is named ciliate-demo and removed at the end, whatever happens."""

from __future__ import annotations

import io
import json
import queue
import shlex
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

NAME = "ciliate-demo"
WEB, GOOD, BAD = f"{NAME}-web", f"{NAME}-good", f"{NAME}-bad"
RULE_LABEL = f"name={NAME}"

BUSYBOX = "/bin/busybox"
APPLETS = ("sh", "sleep", "nc", "httpd")

POLICY = [
    {
        "labels": [RULE_LABEL],
        "description": "web is reached by role=ok on TCP port 80, and by nobody else",
        "endpointSelector": {"matchLabels": {"app": WEB}},
        "ingress": [
            {
                "fromEndpoints": [{"matchLabels": {"role": "ok"}}],
                "toPorts": [{"ports": [{"port": "80", "protocol": "TCP"}]}],
            }
        ],
    }
]

COLOUR = sys.stdout.isatty()
PAUSE = 1.2 if COLOUR else 0.0
"""Seconds after each step, for a reader."""


class Unexpected(Exception):
    """The story did not go as told."""


def say(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if COLOUR else f"\n{text}", flush=True)


def show(text: str) -> None:
    for line in text.rstrip().splitlines():
        print(f"    {line}", flush=True)


def run(*command: str, fails: bool = False, silent: bool = False) -> str:
    """Types a command and shows what it says. `fails`: it has to."""
    if not silent:
        line = f"$ {shlex.join(command)}"
        print(f"  \033[36m{line}\033[0m" if COLOUR else f"  {line}", flush=True)
    done = subprocess.run(command, capture_output=True, text=True)
    if not silent:
        show(done.stdout + done.stderr)
        time.sleep(PAUSE)
    if bool(done.returncode) != fails and not silent:
        raise Unexpected(f"{command[0]} {'succeeded' if fails else 'failed'}: {done.stderr.strip()}")
    return done.stdout


def image() -> bytes:
    """A file system of busybox and one page: no registry is needed."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for directory in ("bin", "dev", "etc", "proc", "sys", "tmp", "www"):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        archive.add(BUSYBOX, "bin/busybox")
        for applet in APPLETS:
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(entry)
        page = b"hello from web\n"
        entry = tarfile.TarInfo("www/index.html")
        entry.size = len(page)
        archive.addfile(entry, io.BytesIO(page))
    return content.getvalue()


@contextmanager
def monitor() -> Iterator[queue.Queue[str]]:
    """`ciliate monitor` in the background; its lines are shown as they come, and put into the queue."""
    command = ("ciliate", "monitor", "--verdict", "dropped", "--to", WEB)
    print(f"  $ {shlex.join(command)} &", flush=True)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines: queue.Queue[str] = queue.Queue()

    def follow() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            mark = "\033[31mmonitor:\033[0m" if COLOUR else "monitor:"
            print(f"    {mark} {line.rstrip()}", flush=True)
            lines.put(line)

    reader = threading.Thread(target=follow, daemon=True)
    reader.start()
    try:
        time.sleep(1.0)  # until it listens
        yield lines
    finally:
        process.terminate()
        process.wait()
        reader.join(2)


def tell() -> None:
    say("1. An image of our own, from a static busybox.")
    with tempfile.NamedTemporaryFile(suffix=".tar") as archive:
        archive.write(image())
        archive.flush()
        run("docker", "import", archive.name, NAME)

    say("2. A network. Its driver is ciliate; so is the one that gives addresses.")
    run("docker", "network", "create", "-d", "ciliate", "--ipam-driver", "ciliate", NAME)

    say("3. A web server and two clients. They differ in the value of one label.")
    start = ("docker", "run", "-d", "--stop-signal", "KILL", "--network", NAME)
    run(*start, "--name", WEB, "--label", f"app={WEB}", NAME, "httpd", "-f", "-p", "80", "-h", "/www")
    run(*start, "--name", GOOD, "--label", "role=ok", NAME, "sleep", "3600")
    run(*start, "--name", BAD, "--label", "role=guest", NAME, "sleep", "3600")
    run("ciliate", "endpoint", "list")

    say("4. Without a policy, both are answered.")
    # Not wget: that of a static busybox crashes on Debian 12.
    ask = ("sh", "-c", f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 {WEB} 80")
    for client in (GOOD, BAD):
        run("docker", "exec", client, *ask)

    say("5. A policy: web may be reached by role=ok on TCP port 80. It says labels, and no address.")
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(POLICY, file, indent=2)
        file.flush()
        show(json.dumps(POLICY, indent=2))
        run("ciliate", "policy", "import", file.name, "--replace-with-labels", RULE_LABEL, "--wait", "5")

    say("6. From now on one request is answered, and one is dropped. The drop is shown as it happens.")
    with monitor() as drops:
        run("docker", "exec", GOOD, *ask)
        run("docker", "exec", BAD, *ask, fails=True)
        try:
            drop = drops.get(timeout=5)
        except queue.Empty:
            raise Unexpected("monitor showed no drop") from None
    if BAD not in drop or "Policy denied" not in drop:
        raise Unexpected(f"monitor showed something else: {drop}")
    say(
        "That is it: who may talk to whom is said in labels, judged in the kernel, and every no has a reason."
    )


def remove() -> None:
    """Also what an earlier run may have left."""
    run("ciliate", "policy", "delete", RULE_LABEL, silent=True)
    run("docker", "rm", "-f", WEB, GOOD, BAD, silent=True)
    run("docker", "network", "rm", NAME, silent=True)
    run("docker", "image", "rm", NAME, silent=True)


def interrupted(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGHUP, interrupted)
    if not Path(BUSYBOX).exists():
        print(f"{BUSYBOX} is missing: apt-get install busybox-static", file=sys.stderr)
        return 1
    remove()
    try:
        tell()
    except KeyboardInterrupt:
        say("Interrupted.")
        return 130
    except Unexpected as error:
        print(f"\nThe story did not go as told: {error}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # once more would leave things behind
        say("Removing all that the demo made.")
        remove()
    return 0


if __name__ == "__main__":
    sys.exit(main())
