"""The embedded store on a real disk that loses power, and on one that is full.

ext4 can be told to stop as a power cut stops it: nothing more reaches the disk, and what the page cache still
held is gone. The disk is a file of its own in a mount namespace of its own, so nothing is left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import require

ROOT = Path(__file__).parents[3]

PRELUDE = """
import fcntl, os, struct, sys
from pathlib import Path
from model.errors import Unavailable
from store.kv import DeletePrefix, Set
from store.sqlite import SqliteStore

DISK = Path("disk")
STORE = DISK / "state" / "store.db"
SHUTDOWN, WITHOUT_FLUSHING = 0x8004587D, 2  # EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH

def cut_power():
    fcntl.ioctl(os.open(DISK, os.O_RDONLY), SHUTDOWN, struct.pack("I", WITHOUT_FLUSHING))
    sys.stdout.flush()
    os._exit(0)
"""

MACHINE = """
set -e
truncate -s 16M image
mkfs.ext4 -q -F image
mkdir disk
boot() { mount -o loop image disk; }
python() { PYTHONPATH="$ROOT" "$PYTHON" -c "$(cat prelude.py "$1")"; }
"""


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    require(os.geteuid() == 0, "root, to mount a disk")
    require(shutil.which("mkfs.ext4") is not None, "mkfs.ext4")
    require(Path("/dev/loop-control").exists(), "loop devices")
    (tmp_path / "prelude.py").write_text(PRELUDE)
    return tmp_path


def run(machine: Path, story: str, **scripts: str) -> list[str]:
    """Plays the shell story in a mount namespace; a script NAME is there as a file. Returns its output."""
    for name, text in scripts.items():
        (machine / name).write_text(text)
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", MACHINE + story],
        cwd=machine,
        env={**os.environ, "ROOT": str(ROOT), "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


AFTERWARDS = """
store = SqliteStore(STORE)
print(*(f"{entry.key}={entry.value.decode()}" for entry in store.list("")))
store.transact([Set("after", b"")])
"""


def test_a_durable_write_survives_a_power_cut_right_after_it_returned(machine: Path) -> None:
    """The first transaction of a new store in a new folder: the folders' entries must be on the disk too. A
    plain file written before shows that the cut was one."""
    first = """
store = SqliteStore(STORE)
(DISK / "plain").write_bytes(b"x" * 100)
store.transact([Set("policies/default", b"first")])
store.transact([Set("addresses/10.0.0.2", b"")], durable=False)
cut_power()
"""
    story = "boot; python first; umount disk; boot; wc -c < disk/plain; python afterwards; umount disk"
    plain, entries = run(machine, story, first=first, afterwards=AFTERWARDS)
    assert plain == "0", "the page cache survived: this was no power cut"
    assert "policies/default=first" in entries.split()


def test_every_durable_write_carries_all_that_was_written_before_it(machine: Path) -> None:
    first = """
store = SqliteStore(STORE)
for number in range(400):
    text = str(number).encode()
    store.transact([Set("cheap", text), Set(f"x{number}", bytes(3000))], durable=False)
    if number % 10 == 9:
        store.transact([Set("durable", text)])
store.transact([DeletePrefix("x"), Set("last", b"")])
cut_power()
"""
    story = "boot; python first; umount disk; boot; python afterwards; umount disk"
    (entries,) = run(machine, story, first=first, afterwards=AFTERWARDS)
    assert entries.split() == ["cheap=399", "durable=399", "last="]


def test_a_power_cut_among_cheap_writes_damages_nothing(machine: Path) -> None:
    """Thousands of them, past several rounds of the log: some of the last may be lost, as whole transactions
    from the end."""
    first = """
store = SqliteStore(STORE)
store.transact([Set("durable", b"yes")])
for number in range(3000):
    text = str(number).encode()
    store.transact([Set("one", text), Set("two", text), Set(f"x{number % 50}", bytes(3000))], durable=False)
cut_power()
"""
    afterwards = """
store = SqliteStore(STORE)
one, two = store.get("one"), store.get("two")
print(store.get("durable").value.decode(), one is not None and one.value == two.value)
"""
    story = "boot; python first; umount disk; boot; python afterwards; umount disk"
    assert run(machine, story, first=first, afterwards=afterwards) == ["yes True"]


def test_a_full_disk_is_an_error_with_a_hint_and_nothing_is_half_written(machine: Path) -> None:
    fill = """
store = SqliteStore(STORE)
store.transact([Set("a", b"before"), Set("b", b"before")])
with (DISK / "ballast").open("wb", buffering=0) as ballast:
    try:
        while True:
            ballast.write(bytes(4096))
    except OSError:
        pass
failures = set()
for durable in (True, False, True):
    try:
        store.transact([Set("a", b"after"), Set("b", bytes(300_000))], durable=durable)
    except Unavailable as error:
        failures.add(error.message.split(": ")[1] + "; " + error.hint)
print(*failures)
print(*(entry.value.decode() for entry in store.list("")))
(DISK / "ballast").unlink()
store.transact([Set("a", b"room")])
print(*(entry.value.decode() for entry in store.list("")))
"""
    assert run(machine, "boot; python fill; umount disk", fill=fill) == [
        "the disk is full; nothing was written; free some space for disk/state",
        "before before",
        "room before",
    ]
