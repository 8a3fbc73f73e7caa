"""The embedded store's file: what it survives, and what it says where it cannot go on."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from model.errors import CiliateError, Unavailable, Unsupported
from store.kv import Changed, DeletePrefix, Entry, Removed, Set
from store.sqlite import SqliteStore

ROOT = Path(__file__).parents[3]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "store.db"


@contextmanager
def process(script: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process with a store on the same file; ends with the test."""
    prelude = (
        "import sys; from pathlib import Path; from store.kv import *; from store.sqlite import SqliteStore\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", prelude + script, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


# what it survives


def test_what_was_written_is_there_after_a_restart_and_the_index_goes_on(path: Path) -> None:
    store = SqliteStore(path)
    first = store.transact([Set("a", b"1"), Set("b", b"2")])
    last = store.transact([DeletePrefix("b")])
    store.close()

    again = SqliteStore(path)
    assert again.list("") == [Entry("a", b"1", first)]
    assert again.transact([Set("c", b"")]) == last + 1
    again.close()


@pytest.mark.parametrize("durable", [True, False])
def test_a_killed_process_leaves_whole_transactions_and_loses_none_that_returned(
    path: Path, durable: bool
) -> None:
    script = f"""
store = SqliteStore(Path(sys.argv[1]))
number = 0
while True:
    number += 1
    store.transact([Set(f"k{{n}}", str(number).encode() * 200) for n in range(20)], durable={durable})
    print(number, flush=True)
"""
    done = 0
    for _ in range(3):
        with process(script, path) as child:
            while int(line(child)) < 30:
                pass
            child.send_signal(signal.SIGKILL)
            assert child.stdout is not None
            done = max([int(rest) for rest in child.stdout.read().split("\n")[:-1]], default=30)

        store = SqliteStore(path)
        values = {entry.value for entry in store.list("")}
        assert len(values) == 1, "half a transaction"
        assert values.pop() in {str(done).encode() * 200, str(done + 1).encode() * 200}
        store.close()


def test_the_files_as_they_are_when_a_write_returns_hold_it(path: Path, tmp_path: Path) -> None:
    """A copy of file and log, taken at that instant, is what a machine that died then would find: nothing
    that the store still has in memory counts."""
    store = SqliteStore(path)
    for number in range(5):
        store.transact([Set("a", str(number).encode()), Set(f"k{number}", bytes(50_000))])
        copy = tmp_path / f"copy{number}"
        copy.mkdir()
        for file in (path, path.with_name("store.db-wal")):
            shutil.copy(file, copy)
        revived = SqliteStore(copy / "store.db")
        assert revived.list("") == store.list("")
        revived.close()
    store.close()


def test_durable_transactions_wait_for_the_disk_and_others_do_not(path: Path) -> None:
    """SQLite's levels: 2 is FULL, each commit is synchronised; 1 is NORMAL, the log is synchronised before it
    goes into the file, so that a power cut undoes commits but damages nothing."""
    store = SqliteStore(path)
    levels = []
    for durable in (True, False, False, True):
        store.transact([Set("a", b"")], durable=durable)
        levels.append(store._writer.execute("PRAGMA synchronous").fetchone()[0])
    assert levels == [2, 1, 1, 2]
    assert store._writer.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    store.close()


def test_the_file_is_root_s_alone(path: Path) -> None:
    store = SqliteStore(path)
    store.transact([Set("a", b"")])
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
    assert {file.name for file in path.parent.iterdir()} == {"store.db", "store.db-wal", "store.db-shm"}
    store.close()


# other processes


def test_a_watch_sees_what_another_process_writes(path: Path) -> None:
    store = SqliteStore(path)
    watch = store.watch("")
    watch.next(5)
    script = """
store = SqliteStore(Path(sys.argv[1]))
for order in sys.stdin:
    store.transact([Set("a", b"1")] if order == "set\\n" else [DeletePrefix("a")])
"""
    with process(script, path) as child:
        assert child.stdin is not None
        child.stdin.write("set\n")
        child.stdin.flush()
        event = watch.next(10)
        assert isinstance(event, Changed) and event.entries[0].value == b"1"
        child.stdin.write("delete\n")
        child.stdin.flush()
        assert isinstance(watch.next(10), Removed)
    store.close()


def test_two_processes_write_in_turn(path: Path) -> None:
    script = """
store = SqliteStore(Path(sys.argv[1]))
for number in range(200):
    store.transact([Set(f"theirs/{number}", b"")], durable=False)
print("done", flush=True)
"""
    store = SqliteStore(path)
    with process(script, path) as child:
        for number in range(200):
            store.transact([Set(f"ours/{number}", b"")], durable=False)
        assert line(child) == "done"
    entries = store.list("")
    assert len(entries) == 400
    assert len({entry.index for entry in entries}) == 400
    store.close()


def test_a_file_locked_by_another_process_is_an_error_in_time(path: Path) -> None:
    store = SqliteStore(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    started = time.monotonic()
    with pytest.raises(Unavailable, match="another process has kept it locked") as caught:
        store.transact([Set("a", b"")])
    assert time.monotonic() - started < 4
    assert "fuser" in caught.value.hint
    assert store.list("") == []

    other.execute("ROLLBACK")
    other.close()
    store.transact([Set("a", b"")])
    store.close()


def test_many_who_open_a_new_store_at_once_share_one(path: Path) -> None:
    script = """
sys.stdin.readline()
store = SqliteStore(Path(sys.argv[1]))
store.transact([Set("k" + sys.stdin.readline().strip(), b"")])
print("done", flush=True)
"""
    with process(script, path) as one, process(script, path) as two:
        for number, child in enumerate((one, two)):
            assert child.stdin is not None
            child.stdin.write(f"go\n{number}\n")
            child.stdin.flush()
        assert [line(one), line(two)] == ["done", "done"]
    store = SqliteStore(path)
    assert [entry.key for entry in store.list("")] == ["k0", "k1"]
    store.close()


# a full disk


def test_a_disk_that_takes_no_more_is_an_error_and_nothing_is_half_written(path: Path) -> None:
    """A limit on the size of files makes the same system calls fail, at the same moments."""
    script = """
import resource
store = SqliteStore(Path(sys.argv[1]))
store.transact([Set("a", b"before"), Set("b", b"before")])
resource.setrlimit(resource.RLIMIT_FSIZE, (120_000, resource.RLIM_INFINITY))
try:
    store.transact([Set("a", b"after"), Set("b", bytes(300_000))])
except Exception as error:
    print(type(error).__name__, error.hint != "", flush=True)
print(*(entry.value.decode() for entry in store.list("")), flush=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.transact([Set("a", b"room again")])
"""
    with process(script, path) as child:
        assert line(child) == "Unavailable True"
        assert line(child) == "before before"
        assert child.wait(10) == 0
    store = SqliteStore(path)
    assert [entry.value for entry in store.list("")] == [b"room again", b"before"]
    store.close()


# files that are no good


def refused(path: Path) -> CiliateError:
    """The error, after making sure that nothing was changed."""
    before = {file: file.read_bytes() for file in path.parent.iterdir()}
    with pytest.raises(CiliateError) as caught:
        SqliteStore(path)
    after = {file: file.read_bytes() for file in path.parent.iterdir() if not file.name.endswith("-shm")}
    assert {file: text for file, text in before.items() if not file.name.endswith("-shm")} == after
    return caught.value


def filled(path: Path) -> None:
    store = SqliteStore(path)
    for number in range(300):
        store.transact([Set(f"k{number}", bytes(2000))], durable=False)
    store.close()


@pytest.mark.parametrize("damage", ["header", "middle", "text", "empty", "short"])
def test_a_damaged_file_is_refused_and_left_alone(path: Path, damage: str) -> None:
    filled(path)
    content = bytearray(path.read_bytes())
    if damage == "header":
        content[:16] = bytes(16)
    elif damage == "middle":
        content[4096 * 5 : 4096 * 40] = b"\xff" * (4096 * 35)
    elif damage == "text":
        content = bytearray(b"this is not a database\n" * 100)
    elif damage == "empty":
        content = bytearray()
    else:
        del content[len(content) // 2 :]
    path.write_bytes(content)

    error = refused(path)
    assert isinstance(error, Unavailable)
    assert str(path) in error.message
    assert "put back a copy" in error.hint and "move" in error.hint


def test_damage_that_shows_only_later_is_reported_as_damage(path: Path) -> None:
    filled(path)
    store = SqliteStore(path)
    content = bytearray(path.read_bytes())
    content[4096 * 5 :] = b"\xff" * (len(content) - 4096 * 5)
    path.write_bytes(content)
    with pytest.raises(Unavailable, match="damaged") as caught:
        store.list("")
    assert "put back a copy" in caught.value.hint


def test_a_log_without_its_file_is_no_first_start(path: Path) -> None:
    store = SqliteStore(path)
    store.transact([Set("a", b"1")])
    path.unlink()
    error = refused(path)
    assert isinstance(error, Unavailable) and "missing" in error.message
    store.close()


def test_another_program_s_database_is_refused(path: Path) -> None:
    path.parent.mkdir()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE songs (title TEXT)")
    other.commit()
    other.close()
    error = refused(path)
    assert isinstance(error, Unsupported) and "no store of ciliate" in error.message


def test_an_unknown_version_is_refused(path: Path) -> None:
    SqliteStore(path).close()
    other = sqlite3.connect(path)
    other.execute("PRAGMA user_version = 99")
    other.commit()
    other.close()
    error = refused(path)
    assert isinstance(error, Unsupported)
    assert "version 99" in error.message and "this ciliate knows version 1" in error.message


def test_a_place_that_cannot_hold_a_store_is_an_error_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Unavailable) as caught:
        SqliteStore(tmp_path / "file" / "store.db")
    assert str(tmp_path / "file") in caught.value.hint
    with pytest.raises(Unavailable):
        SqliteStore(tmp_path)
