"""The table of marks in the engine's file: the newest digests, in the order in which they were added."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3

_TABLE: Final = "CREATE TABLE IF NOT EXISTS marks(n INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE)"


def create_mark_table(db: sqlite3.Connection) -> None:
    """Create the table if it does not exist: files of the first versions have none."""
    db.execute(_TABLE)


def has_mark(db: sqlite3.Connection, digest: bytes) -> bool:
    """Return whether the table has this digest."""
    return db.execute("SELECT 1 FROM marks WHERE digest = ?", (digest,)).fetchone() is not None


def put_mark(db: sqlite3.Connection, digest: bytes, *, limit: int) -> None:
    """Add the digest unless the table has it, and delete all but the newest `limit`."""
    db.execute("INSERT OR IGNORE INTO marks(digest) VALUES (?)", (digest,))
    db.execute("DELETE FROM marks WHERE n <= (SELECT max(n) FROM marks) - ?", (limit,))
