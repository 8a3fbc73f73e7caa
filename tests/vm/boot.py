"""One command in a machine of its own, with another kernel. QEMU emulates it, so no help of the processor is needed.

The command sees this machine's files; what it writes is gone with the machine, but for /run/machine, which is a folder
out here. The network is the loopback interface. Emulation makes Python some ten times slower, and a new process thirty.
"""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL

from tests.vm import initrd
from tests.vm.fetch import Unpacked

EMULATOR = "qemu-system-x86_64"
REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Broken(Exception):
    """The machine itself failed: no status came back."""

    reason: str
    console: str
    """The last lines of what the kernel said."""

    def __str__(self) -> str:
        return f"{self.reason}; the kernel's last words:\n{self.console}"


SCRIPT = """\
exec </dev/null >/dev/ttyS1 2>&1
stty -F /dev/ttyS1 raw
ulimit -l unlimited
ulimit -n 65536
export HOME=/root LANG=C.UTF-8 TERM=dumb PYTHONDONTWRITEBYTECODE=1
export PATH={repository}/.venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
cd {repository}
bash -c {command}
echo $? >/run/machine/status
stty -F /dev/ttyS1 raw  # which waits for the last words,
sleep 0.5               # though not for long where the processor is busy
echo o >/proc/sysrq-trigger
sleep 60
"""

OPTIONS = (
    "quiet panic=-1 oops=panic console=ttyS0 net.ifnames=0 mitigations=off nokaslr audit=0 apparmor=0 "
    "tsc=reliable no_timer_check nowatchdog random.trust_cpu=on"
)
"""Of the kernel: an error ends it, and nothing is done that only costs time where one command runs and is gone."""


def run(
    kernel: Unpacked,
    command: str,
    *,
    folder: Path,
    output: int | None = None,
    timeout: float = 900,
    memory: int = 2048,
) -> int:
    """The exit status of a bash command, run in the repository. What it prints goes to the descriptor `output`, or
    where this process prints; `folder` becomes its /run/machine; `memory` in MiB, `timeout` in seconds. Broken if the
    machine does not live to tell, or takes longer."""
    (folder / "command").write_text(
        SCRIPT.format(repository=shlex.quote(str(REPOSITORY)), command=shlex.quote(command))
    )
    status = folder / "status"
    status.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as own:
        first, console = Path(own, "initrd"), Path(own, "console")
        first.write_bytes(initrd.build(kernel))
        emulator = [
            # Whatever becomes of this process, the machine goes with it.
            *(
                "setpriv",
                "--pdeathsig",
                "KILL",
                EMULATOR,
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
            ),
            *("-machine", "q35", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max"),
            *("-smp", "2", "-m", str(memory), "-no-reboot"),
            *("-kernel", str(kernel.image), "-initrd", str(first), "-append", OPTIONS),
            *(
                "-serial",
                f"file:{console}",
                "-chardev",
                "stdio,id=output,signal=off",
                "-serial",
                "chardev:output",
            ),
            *(
                "-object",
                "rng-random,id=random,filename=/dev/urandom",
                "-device",
                "virtio-rng-pci,rng=random",
            ),
            *_shared("host", Path("/"), "readonly=on"),
            *_shared("kernel", kernel.root, "readonly=on"),
            *_shared("machine", folder, "readonly=off"),
        ]
        try:
            ended = subprocess.run(emulator, stdin=DEVNULL, stdout=output, timeout=timeout).returncode
        except subprocess.TimeoutExpired:
            raise Broken(f"no end after {timeout:.0f} s", _tail(console)) from None
        if not status.exists():
            raise Broken(f"the machine ended without a status (QEMU: {ended})", _tail(console))
    return int(status.read_text())


def _shared(tag: str, path: Path, access: str) -> list[str]:
    return [
        *("-fsdev", f"local,id={tag},path={path},security_model=none,multidevs=remap,{access}"),
        *("-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"),
    ]


def _tail(console: Path, lines: int = 40) -> str:
    return "\n".join(console.read_text(errors="replace").splitlines()[-lines:]) if console.exists() else ""
