"""The embedded engine's file: SQLite in WAL mode, one transaction per group of requests.

It has four tables of data. `journal` holds one row per change of a lineage, with the images of what changed, numbered
without gaps. `lineages` holds snapshots: whole lineages as they were after some row, so that older rows can be deleted.
`finished` holds the finished lineages, which stay only on disk until their retention is over. `marks` holds digests
that outlive all of these. Loading reads the snapshots, then the later rows.

Everything here blocks and belongs on one thread; only `open` and `reload` may take long. One process has the file, by a
lock next to it. A file that is not understood is refused and left as it is. SQLite itself drops what a crash left half
written at the end. Damage in the middle is detected by checksums, not repaired.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from orchestrator.config.private_files import make_folder
from orchestrator.engine.embedded.disk import loading, mark_table, root_table, statements
from orchestrator.engine.embedded.disk.engine_file import beside, check_header, create, lock
from orchestrator.engine.embedded.disk.images import ImageError
from orchestrator.errors import JournalUnusable
from orchestrator.text.display import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor
    from pathlib import Path

    from resonate.connections.local import DurablePromise

    from orchestrator.engine.embedded.disk.images import LineageImage
    from orchestrator.engine.embedded.disk.writes import Recovered, Writes
    from orchestrator.engine.search import Position, RootSearch

PROBE_BYTES: Final = 256 * 1024
SPARE_PAGES: Final = 1024
#: How many characters of SQLite's message go into an error.
LONGEST_REASON: Final = 500


class Journal:
    """The file at `path`. Nothing is read or written before `open`."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self._lock: int | None = None
        self._db: sqlite3.Connection | None = None

    def open(self) -> Recovered:
        """Lock the file, create it if it does not exist, and return what it holds.

        Raises:
            EngineInUse: another process has it.
            JournalUnusable: it is not an engine file, is damaged, or cannot be opened; nothing in it was changed.
        """
        try:
            make_folder(self.path.parent)
            self._lock = lock(self.path)

            if not self.path.exists():
                create(self.path)

            check_header(self.path)
            self._connect()
            recovered = self._checked()
            self._create_tables()

        except (sqlite3.Error, OSError, ImageError) as error:
            self.close(checkpoint=False)
            raise JournalUnusable(f"{self.path} cannot be used: {one_line(str(error), LONGEST_REASON)}") from error
        except BaseException:
            self.close(checkpoint=False)
            raise

        return recovered

    def thread(self) -> Executor:
        """Return a new executor with one thread, on which all other methods are to be called."""
        return ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")

    def commit(self, writes: Writes) -> None:
        """Write all of it or nothing. It is on disk when this returns.

        Raises:
            sqlite3.Error: it is unknown whether it was written, so none of it may be reported to anybody.
        """
        statements.write(self._connection(), writes)

    def read(self, origin: str) -> LineageImage | None:
        """Return a finished lineage, None if the file does not have it.

        Raises:
            sqlite3.Error, ImageError: it cannot be read.
        """
        return loading.read_finished(self._connection(), origin)

    def expired(self, cutoff: int, *, transient: bool, limit: int) -> list[str]:
        """Return at most `limit` lineages that finished before `cutoff` (milliseconds), the oldest first."""
        query = "SELECT origin FROM finished WHERE transient = ? AND at < ? ORDER BY at LIMIT ?"
        return [origin for (origin,) in self._connection().execute(query, (transient, cutoff, limit))]

    def find_roots(self, search: RootSearch) -> list[Position]:
        """Return the finished workflows to be found, at most as many as the search's limit and one more."""
        return root_table.find_roots(self._connection(), search)

    def read_roots(self, origins: Sequence[str]) -> dict[str, DurablePromise | None]:
        """Return the roots of these finished lineages; None for one that is damaged, and none that is not here."""
        return root_table.read_roots(self._connection(), origins)

    def has_mark(self, digest: bytes) -> bool:
        """Return whether this digest is among the marks."""
        return mark_table.has_mark(self._connection(), digest)

    def put_mark(self, digest: bytes, *, limit: int) -> None:
        """Add the digest to the marks and keep the newest `limit` of them. It is on disk when this returns."""
        mark_table.put_mark(self._connection(), digest, limit=limit)

    def shrink(self) -> None:
        """Return a bounded number of unused pages to the file system, if there are many."""
        db = self._connection()
        (unused,) = db.execute("PRAGMA freelist_count").fetchone()

        if unused > SPARE_PAGES:
            db.execute(f"PRAGMA incremental_vacuum({SPARE_PAGES})").fetchall()

    def reload(self) -> Recovered:
        """Return what the file holds, after a failed `commit`, if it can be written again.

        Raises:
            sqlite3.Error: it still cannot be written.
            ImageError: it cannot be read.
        """
        db = self._connection()

        with statements.transaction(db):
            db.execute("UPDATE meta SET value = zeroblob(?) WHERE name = 'probe'", (PROBE_BYTES,))

        with statements.transaction(db):
            db.execute("UPDATE meta SET value = NULL WHERE name = 'probe'")

        return loading.load(self._connection())

    def close(self, *, checkpoint: bool = True) -> None:
        """Close the file and release the lock. A second call does nothing."""
        db, self._db = self._db, None
        held, self._lock = self._lock, None

        if db is not None:
            with contextlib.suppress(sqlite3.Error):
                db.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, not checkpoint)
                db.close()

            wal = beside(self.path, "-wal")

            if wal.exists() and wal.stat().st_size == 0:  # SQLite leaves it behind without a checkpoint
                wal.unlink()

        if held is not None:
            os.close(held)

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            raise sqlite3.ProgrammingError("the file is not open")

        return self._db

    def _create_tables(self) -> None:
        """Create the tables that files of the first versions do not have."""
        mark_table.create_mark_table(self._connection())
        root_table.create_root_table(self._connection())

    def _connect(self) -> None:
        self._db = db = sqlite3.connect(
            self.path, isolation_level=None, timeout=0, check_same_thread=False, cached_statements=256
        )
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA journal_size_limit = 16777216")

    def _checked(self) -> Recovered:
        """Check the file and return what it holds. Finished lineages may be many; each is checked when it is read."""
        db = self._connection()

        for table in ("meta", "journal", "lineages"):
            (verdict,) = db.execute(f"PRAGMA quick_check('{table}')").fetchone()

            if verdict != "ok":
                raise JournalUnusable(f"{self.path} is damaged: {one_line(verdict, LONGEST_REASON)}")

        return loading.load(self._connection())
