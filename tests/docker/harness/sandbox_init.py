"""Process 1 of a sandbox. Run by sandbox.py in fresh mount, network, pid, ipc and uts namespaces:
`python3 sandbox_init.py DIRECTORY NAME [INSIDE=OUTSIDE...]`, where the directory OUTSIDE shall be seen as INSIDE.

Gives the machine's file system a private, disposable face: what is written to /etc, /var, /opt, /usr and /root goes
to DIRECTORY/upper, /run is empty, /sys shows this network namespace, /sys/fs/bpf is its own. Then adopts and reaps
orphans. Ends when its standard input closes, that is when the test run is gone for whatever reason, and the kernel ends
everything else in the pid namespace with it."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

COPIED = ("etc", "var", "opt", "usr", "root")


def mount(*arguments: str) -> None:
    subprocess.run(["mount", "-n", *arguments], check=True)  # -n: no notes in the /run of the machine


def make_private(directory: Path, shared: dict[str, str]) -> None:
    mount("--make-rprivate", "/")
    stages = {}
    for number, (inside, outside) in enumerate(shared.items()):
        # A second name for it, because its own may soon lie under an overlay.
        stages[inside] = directory / "shared" / str(number)
        stages[inside].mkdir(parents=True)
        mount("--bind", outside, str(stages[inside]))
    mount("-t", "proc", "proc", "/proc")
    for name in COPIED:
        upper, work = directory / "upper" / name, directory / "work" / name
        upper.mkdir(parents=True, exist_ok=True)
        work.mkdir(parents=True, exist_ok=True)
        mount(
            "-t", "overlay", "-o", f"lowerdir=/{name},upperdir={upper},workdir={work}", "overlay", f"/{name}"
        )
    for inside, stage in stages.items():
        Path(inside).mkdir(parents=True, exist_ok=True)
        mount("--bind", str(stage), inside)
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    for name in ("lock", "log"):
        (Path("/run") / name).mkdir()
    # sysfs of this network namespace, with the machine's cgroups where they were.
    cgroups = Path("/run/cgroups")
    cgroups.mkdir()
    mount("--rbind", "/sys/fs/cgroup", str(cgroups))
    mount("-t", "sysfs", "sysfs", "/sys")
    mount("--rbind", str(cgroups), "/sys/fs/cgroup")
    subprocess.run(["umount", "-l", str(cgroups)], check=True)
    cgroups.rmdir()
    mount("-t", "bpf", "-o", "mode=700", "bpf", "/sys/fs/bpf")


def main() -> None:
    directory, name = Path(sys.argv[1]), sys.argv[2]
    make_private(directory, dict(argument.split("=", 1) for argument in sys.argv[3:]))
    socket.sethostname(name)
    wakeup_read, wakeup_write = os.pipe()
    os.set_blocking(wakeup_write, False)
    signal.set_wakeup_fd(wakeup_write)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for pytest, which then closes our input
    print("ready", flush=True)
    while True:
        readable, _, _ = select.select([sys.stdin, wakeup_read], [], [])
        if sys.stdin in readable:
            return
        os.read(wakeup_read, 4096)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            continue


if __name__ == "__main__":
    main()
