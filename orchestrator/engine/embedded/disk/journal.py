"""The embedded engine's file: SQLite in WAL mode, one transaction per group of requests.

Four things are in it. `journal` has, per change of a lineage, the images of what changed, numbered without a gap.
`lineages` has whole lineages as they were after some number, so that old journal rows can go. `finished` has those that
are over, which are kept only here until their time has come. `marks` has digests that outlive all that. Reading back
is: the snapshots, then the later rows.

Everything here blocks, and belongs on one thread; only `open` and `reload` may take long. One process has the file (a
lock beside it), and a file that is not understood is refused and left as it is. SQLite itself drops what a crash left
half written at the end; damage in the middle is found by checksums, not repaired.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from itertools import chain
from typing import TYPE_CHECKING, Final

from orchestrator.config.private_files import make_folder
from orchestrator.engine.embedded.disk.engine_file import beside, check_header, create, lock
from orchestrator.engine.embedded.disk.images import ImageError, LineageImage, decode
from orchestrator.engine.embedded.disk.writes import Recovered, Row, Snapshot, Writes
from orchestrator.engine.marks import MARKS
from orchestrator.errors import JournalUnusable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PROBE_BYTES: Final = 256 * 1024
#: Rows per INSERT: one statement is one call into SQLite, so the writer thread gives the interpreter away only once.
ROWS_PER_STATEMENT: Final = 64
SPARE_PAGES: Final = 1024


class Journal:
    """The file at `path`; nothing is touched before `open`."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self._lock: int | None = None
        self._db: sqlite3.Connection | None = None

    def open(self) -> Recovered:
        """Lock the file, create it if there is none, and return what it holds.

        Raises:
            EngineInUse: another process has it.
            JournalUnusable: it is not ours, damaged, or cannot be had; nothing in it was changed.
        """
        try:
            make_folder(self.path.parent)
            self._lock = lock(self.path)

            if not self.path.exists():
                create(self.path)

            check_header(self.path)
            self._connect()
            recovered = self._checked()
            # Files of the first versions have no marks yet.
            self._connection().execute(MARKS)

        except (sqlite3.Error, OSError, ImageError) as error:
            self.close(checkpoint=False)
            raise JournalUnusable(f"{self.path} cannot be used: {_one_line(error)}") from error
        except BaseException:
            self.close(checkpoint=False)
            raise

        return recovered

    def commit(self, writes: Writes) -> None:
        """Write all of it, or nothing; on disk when this returns.

        Raises:
            sqlite3.Error: nothing of it is to be relied on, and nothing of it is to be shown to anybody.
        """
        db = self._connection()

        if len(writes.rows) <= ROWS_PER_STATEMENT and not (writes.gone or writes.snapshots or writes.trim):
            if writes.rows:
                db.execute(_insert(len(writes.rows)), _flat(writes.rows))

            return

        with _transaction(db):
            for start in range(0, len(writes.rows), ROWS_PER_STATEMENT):
                rows = writes.rows[start : start + ROWS_PER_STATEMENT]
                db.execute(_insert(len(rows)), _flat(rows))

            _delete(db, "lineages", writes.gone)
            _delete(db, "finished", writes.gone)
            _keep(db, writes.snapshots)

            if writes.trim is not None:
                db.execute("DELETE FROM journal WHERE seq <= ?", (writes.trim,))

    def read(self, origin: str) -> LineageImage | None:
        """Return a finished lineage, None when it is not there.

        Raises:
            sqlite3.Error, ImageError: it cannot be read.
        """
        found = self._connection().execute("SELECT state FROM finished WHERE origin = ?", (origin,)).fetchone()

        if found is None:
            return None

        image = LineageImage()
        image.apply(decode(found[0]))
        return image

    def expired(self, cutoff: int, *, transient: bool, limit: int) -> list[str]:
        """Return finished lineages that were over before `cutoff` (milliseconds), `limit` of them, oldest first."""
        query = "SELECT origin FROM finished WHERE transient = ? AND at < ? ORDER BY at LIMIT ?"
        return [origin for (origin,) in self._connection().execute(query, (transient, cutoff, limit))]

    def marks[T](self, step: Callable[[sqlite3.Connection], T]) -> T:
        """Return what a step over the table of marks returns."""
        return step(self._connection())

    def shrink(self) -> None:
        """Give a bounded number of unused pages back to the file system, when there are many."""
        db = self._connection()
        (unused,) = db.execute("PRAGMA freelist_count").fetchone()

        if unused > SPARE_PAGES:
            db.execute(f"PRAGMA incremental_vacuum({SPARE_PAGES})").fetchall()

    def reload(self) -> Recovered:
        """Return what the file holds, after a failed `commit`, once there is room to write again.

        Raises:
            sqlite3.Error: it still cannot be written.
            ImageError: it cannot be read.
        """
        db = self._connection()

        with _transaction(db):
            db.execute("UPDATE meta SET value = zeroblob(?) WHERE name = 'probe'", (PROBE_BYTES,))

        with _transaction(db):
            db.execute("UPDATE meta SET value = NULL WHERE name = 'probe'")

        return self._load()

    def close(self, *, checkpoint: bool = True) -> None:
        """Close the file and let go of the lock; nothing when that has been done."""
        db, self._db = self._db, None
        held, self._lock = self._lock, None

        if db is not None:
            with contextlib.suppress(sqlite3.Error):
                db.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, not checkpoint)
                db.close()

            wal = beside(self.path, "-wal")

            if wal.exists() and wal.stat().st_size == 0:  # SQLite leaves an empty one when it may not tidy up
                wal.unlink()

        if held is not None:
            os.close(held)

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            raise sqlite3.ProgrammingError("the file is not open")

        return self._db

    def _connect(self) -> None:
        self._db = db = sqlite3.connect(
            self.path, isolation_level=None, timeout=0, check_same_thread=False, cached_statements=256
        )
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA journal_size_limit = 16777216")

    def _checked(self) -> Recovered:
        """Return what the file holds. Finished lineages are checked when they are read: there may be very many."""
        db = self._connection()

        for table in ("meta", "journal", "lineages"):
            (verdict,) = db.execute(f"PRAGMA quick_check('{table}')").fetchone()

            if verdict != "ok":
                raise JournalUnusable(f"{self.path} is damaged: {_one_line(verdict)}")

        return self._load()

    def _load(self) -> Recovered:
        db = self._connection()
        recovered = Recovered()
        covered: dict[str, int] = dict(
            db.execute("SELECT origin, max(seq) FROM journal WHERE images IS NULL GROUP BY origin")
        )

        for origin, seq, state in db.execute("SELECT origin, seq, state FROM lineages"):
            covered[origin] = seq
            recovered.lineages[origin] = image = LineageImage()
            image.apply(decode(state))

        for origin, seq in db.execute("SELECT origin, seq FROM finished"):
            covered[origin] = seq
            recovered.archived.add(origin)

        self._replay(recovered, covered)
        return recovered

    def _replay(self, recovered: Recovered, covered: dict[str, int]) -> None:
        rows: Iterator[tuple[int, str, int, bytes | None]] = self._connection().execute(
            "SELECT seq, origin, at, images FROM journal ORDER BY seq"
        )

        for count, (seq, origin, at, images) in enumerate(rows):
            if count == 0:
                recovered.first = seq

            if seq != recovered.first + count:
                raise ImageError(f"row {recovered.first + count} is missing")

            recovered.last = seq
            recovered.at = max(recovered.at, at)

            if images is None or seq <= covered.get(origin, 0):
                continue

            recovered.uncovered.setdefault(origin, seq)
            self._image(recovered, origin).apply(decode(images))

    def _image(self, recovered: Recovered, origin: str) -> LineageImage:
        image = recovered.lineages.get(origin)

        if image is None:
            kept = self.read(origin) if origin in recovered.archived else None
            recovered.archived.discard(origin)
            image = recovered.lineages[origin] = LineageImage() if kept is None else kept

        return image


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")

    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")

        raise


def _insert(rows: int) -> str:
    return f"INSERT INTO journal VALUES {_marks(rows, 4)}"  # noqa: S608 - marks only


def _marks(rows: int, columns: int) -> str:
    return ",".join(["(" + ",".join("?" * columns) + ")"] * rows)


def _flat(rows: list[Row]) -> list[object]:
    return list(chain.from_iterable(rows))


def _delete(db: sqlite3.Connection, table: str, origins: list[str]) -> None:
    for start in range(0, len(origins), ROWS_PER_STATEMENT):
        some = origins[start : start + ROWS_PER_STATEMENT]
        db.execute(f"DELETE FROM {table} WHERE origin IN ({','.join('?' * len(some))})", some)  # noqa: S608 - our names


def _keep(db: sqlite3.Connection, snapshots: list[Snapshot]) -> None:
    for start in range(0, len(snapshots), ROWS_PER_STATEMENT):
        some = snapshots[start : start + ROWS_PER_STATEMENT]
        going = [it for it in some if it.finished_at is None]
        over = [it for it in some if it.finished_at is not None]

        if going:
            sql = f"INSERT OR REPLACE INTO lineages VALUES {_marks(len(going), 3)}"  # noqa: S608 - marks only
            db.execute(sql, [value for it in going for value in (it.origin, it.seq, it.state)])
            _delete(db, "finished", [it.origin for it in going])

        if over:
            sql = f"INSERT OR REPLACE INTO finished VALUES {_marks(len(over), 5)}"  # noqa: S608 - marks only
            fields = [(it.origin, it.seq, it.transient, it.finished_at, it.state) for it in over]
            db.execute(sql, [value for row in fields for value in row])
            _delete(db, "lineages", [it.origin for it in over])


def _one_line(reason: object) -> str:
    return " ".join(str(reason).split())
