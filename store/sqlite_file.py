"""The file of the embedded store: how it is made, opened, checked, and what its errors mean to people."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model.errors import Unavailable, Unsupported

APPLICATION = 0x63696C69
"""SQLite's application_id, "cili": tells a store of ciliate from any other database."""

VERSION = 1
"""SQLite's user_version. Another one is refused, not guessed at."""

BUSY_SECONDS = 2.0
"""How long a call waits for another process that writes."""

_RECOVER = (
    "stop ciliate and put back a copy; or move {path} and its -wal and -shm files away to start empty: "
    "policies must then be imported again and networks created again"
)

_TABLES = """
CREATE TABLE entries (key TEXT PRIMARY KEY, idx INTEGER NOT NULL, value BLOB);
CREATE INDEX entries_by_index ON entries (idx);
CREATE TABLE facts (name TEXT PRIMARY KEY, number INTEGER NOT NULL);
INSERT INTO facts VALUES ('horizon', 0);
"""


def open_file(path: Path) -> sqlite3.Connection:
    """A connection to the store at `path`, which is made, whole, if there is none, and checked else."""
    with explained(path):
        if not path.exists():
            _create(path)
        connection = connect(path)
        try:
            _check(connection, path)
        except BaseException:
            connection.close()
            raise
        return connection


def connect(path: Path) -> sqlite3.Connection:
    """One more connection, in autocommit mode, usable from any thread."""
    return sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns SQLite's errors and those of the file system into Unavailable with a hint."""
    try:
        yield
    except sqlite3.Error as error:
        raise _explain(error, path) from error
    except OSError as error:
        raise Unavailable(f"store {path}: {error.strerror}", hint=f"check {path.parent}") from error


def _create(path: Path) -> None:
    """Under another name first: a file of this name is always a whole store, so an empty or half-made one is
    damage and never mistaken for a first start."""
    log = path.with_name(path.name + "-wal")
    if log.exists():
        raise Unavailable(
            f"store {path} is missing, but its log {log} is there", hint=_RECOVER.format(path=path)
        )
    new_folders = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{threading.get_native_id()}")
    draft.unlink(missing_ok=True)
    connection = connect(draft)
    try:
        connection.executescript(
            f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION};"
            f"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; BEGIN; {_TABLES} COMMIT;"
        )
    finally:
        connection.close()
    draft.chmod(0o600)
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        pass  # another process was first; its store is as good
    finally:
        draft.unlink()
    for folder in (path.parent, *(new.parent for new in new_folders)):
        _sync(folder)


def _sync(folder: Path) -> None:
    """A new name in a folder survives a power cut only once the folder itself is on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check(connection: sqlite3.Connection, path: Path) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if path.stat().st_size == 0:
        raise Unavailable(f"store {path} is empty, as no store ever is", hint=_RECOVER.format(path=path))
    if application != APPLICATION:
        raise Unsupported(f"{path} is no store of ciliate", hint="set CILIATE_STATE_DIR to another folder")
    if version != VERSION:
        raise Unsupported(
            f"store {path} has version {version}, and this ciliate knows version {VERSION}",
            hint="start the version of ciliate that wrote it",
        )
    verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise Unavailable(f"store {path} is damaged: {verdict}", hint=_RECOVER.format(path=path))


def _explain(error: sqlite3.Error, path: Path) -> Unavailable:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return Unavailable(f"store {path} is damaged: {error}", hint=_RECOVER.format(path=path))
    if code == sqlite3.SQLITE_FULL:
        return Unavailable(
            f"store {path}: the disk is full; nothing was written", hint=f"free some space for {path.parent}"
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Unavailable(
            f"store {path}: another process has kept it locked for {BUSY_SECONDS:g} s",
            hint="find it with: fuser -v " + str(path),
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return Unavailable(
            f"store {path} cannot be written: {error}",
            hint=f"check the permissions and mount of {path.parent}",
        )
    return Unavailable(
        f"store {path}: {error}; nothing was written", hint="see the kernel's log for disk errors"
    )
