"""The SQL that writes to the engine's file: many rows in each statement, all of a commit in one transaction.

One statement is one call into SQLite, so the writer's thread releases the interpreter lock only once.
"""

from __future__ import annotations

import contextlib
from itertools import chain
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from orchestrator.engine.embedded.disk.root_rows import RootRow
    from orchestrator.engine.embedded.disk.writes import Row, Snapshot, Writes

#: A power of two.
ROWS_PER_STATEMENT: Final = 64


def write(db: sqlite3.Connection, writes: Writes) -> None:
    """Write all of it or nothing.

    Raises:
        sqlite3.Error: it is unknown whether it was written.
    """
    if len(writes.rows) <= ROWS_PER_STATEMENT and not (writes.gone or writes.snapshots or writes.trim):
        _insert_rows(db, writes.rows)
        return

    with transaction(db):
        for some in _parts(writes.rows):
            _insert_rows(db, some)

        _delete(db, "lineages", writes.gone)
        _delete(db, "finished", writes.gone)
        _delete(db, "roots", writes.gone)
        _replace(db, writes.snapshots)

        if writes.trim is not None:
            db.execute("DELETE FROM journal WHERE seq <= ?", (writes.trim,))


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Commit what the block does, or roll it back when it raises."""
    db.execute("BEGIN IMMEDIATE")

    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")

        raise


def insert_roots(db: sqlite3.Connection, roots: Sequence[RootRow]) -> None:
    """Add these workflows to those that are listed, or replace them there. Call it in a transaction."""
    for some in _parts(roots):
        sql = f"INSERT OR REPLACE INTO roots VALUES {_placeholders(len(some), 4)}"  # noqa: S608 - placeholders only
        db.execute(sql, list(chain.from_iterable(some)))


def _insert_rows(db: sqlite3.Connection, rows: Sequence[Row]) -> None:
    if rows:
        sql = f"INSERT INTO journal VALUES {_placeholders(len(rows), 4)}"  # noqa: S608 - placeholders only
        db.execute(sql, list(chain.from_iterable(rows)))


def _delete(db: sqlite3.Connection, table: str, origins: Sequence[str]) -> None:
    for some in _parts(origins):
        db.execute(f"DELETE FROM {table} WHERE origin IN ({','.join('?' * len(some))})", some)  # noqa: S608 - our names


def _replace(db: sqlite3.Connection, snapshots: Sequence[Snapshot]) -> None:
    running = [it for it in snapshots if it.finished_at is None]
    finished = [it for it in snapshots if it.finished_at is not None]

    for some in _parts(running):
        sql = f"INSERT OR REPLACE INTO lineages VALUES {_placeholders(len(some), 3)}"  # noqa: S608 - as above
        db.execute(sql, [value for it in some for value in (it.origin, it.seq, it.state)])

    _delete(db, "finished", [it.origin for it in running])

    for some in _parts(finished):
        sql = f"INSERT OR REPLACE INTO finished VALUES {_placeholders(len(some), 5)}"  # noqa: S608 - as above
        fields = [(it.origin, it.seq, it.transient, it.finished_at, it.state) for it in some]
        db.execute(sql, [value for row in fields for value in row])

    _delete(db, "lineages", [it.origin for it in finished])
    insert_roots(db, [it.root for it in finished if it.root is not None])


def _parts[T](items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield the items in parts of 64, 32, 16 ... 1.

    SQLite keeps each statement together with what was last bound to it, so there must not be one for every number.
    """
    size, start = ROWS_PER_STATEMENT, 0

    while left := len(items) - start:
        while size > left:
            size //= 2

        yield items[start : start + size]
        start += size


def _placeholders(rows: int, columns: int) -> str:
    return ",".join(["(" + ",".join("?" * columns) + ")"] * rows)
