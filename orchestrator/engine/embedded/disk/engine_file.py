"""Taking the engine's file: locking it, checking that it is an engine file, and creating it.

Nothing here changes a file that exists already.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from orchestrator.errors import EngineInUse, JournalUnusable

if TYPE_CHECKING:
    from pathlib import Path

APPLICATION_ID: Final = 0x43536A31  # "CSj1"
FORMAT: Final = 1

_SCHEMA: Final = f"""
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT};
CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE journal(seq INTEGER PRIMARY KEY, origin TEXT NOT NULL, at INTEGER NOT NULL, images BLOB);
CREATE TABLE lineages(origin TEXT PRIMARY KEY, seq INTEGER NOT NULL, state BLOB NOT NULL);
CREATE TABLE finished(
  origin TEXT PRIMARY KEY, seq INTEGER NOT NULL, transient INTEGER NOT NULL, at INTEGER NOT NULL, state BLOB NOT NULL);
CREATE INDEX finished_by_time ON finished(transient, at, origin, seq);
INSERT INTO meta VALUES ('sdk', '{version("resonate-sdk")}'), ('probe', NULL);
PRAGMA journal_mode = WAL;
"""  # noqa: S608 - constants


def beside(path: Path, suffix: str) -> Path:
    """Return the path of a file that accompanies the one at `path`."""
    return path.with_name(path.name + suffix)


def lock(path: Path) -> int:
    """Return a descriptor that holds the lock on the file until it is closed.

    Raises:
        EngineInUse: another process has it.
    """
    descriptor = os.open(beside(path, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise EngineInUse(f"{path} is in use by another process") from error

    return descriptor


def create(path: Path) -> None:
    """Create an empty engine file. It is made under another name first, so `path` is either absent or complete.

    Raises:
        JournalUnusable: the file is missing, but its write-ahead log exists.
    """
    if beside(path, "-wal").exists():
        raise JournalUnusable(f"{path} is missing, but its write-ahead log exists")

    new = beside(path, ".new")

    for suffix in ("", "-journal", "-wal", "-shm"):
        beside(new, suffix).unlink(missing_ok=True)

    os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))

    with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as db:
        create_schema(db)

    new.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)

    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def create_schema(db: sqlite3.Connection) -> None:
    """Make an empty database an empty engine file."""
    db.executescript(_SCHEMA)


def check_header(path: Path) -> None:
    """Check the first bytes before SQLite sees the file: SQLite may change a file merely by opening it.

    Raises:
        JournalUnusable: this is not an engine file, or not of a format that this version knows.
    """
    with path.open("rb") as file:
        header = file.read(100)

    if header[:16] != b"SQLite format 3\0" or int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise JournalUnusable(f"{path} is not an engine file of this program")

    if int.from_bytes(header[60:64], "big") != FORMAT:
        raise JournalUnusable(f"{path} has a format that this version does not know")
