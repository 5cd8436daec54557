"""The embedded engine's file: SQLite in WAL mode, one transaction per group of requests.

Three things are in it. `journal` has, per change of a lineage, the images of what changed, numbered without a gap.
`lineages` has whole lineages as they were after some number, so that old journal rows can go. `finished` has those that
are over, which are kept only here until their time has come. Reading back is: the snapshots, then the later rows.

Everything here blocks, and belongs on one thread; only `open` and `reload` may take long. One process has the file (a
lock beside it), and a file that is not understood is refused and left as it is. SQLite itself drops what a crash left
half written at the end; damage in the middle is found by checksums, not repaired.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.engine.images import ImageError, LineageImage, decode
from orchestrator.errors import EngineInUse, JournalUnusable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

APPLICATION_ID: Final = 0x43536A31  # "CSj1"
FORMAT: Final = 1
PROBE_BYTES: Final = 256 * 1024
#: Rows per INSERT: one statement is one call into SQLite, so the writer thread gives the interpreter away only once.
ROWS_PER_STATEMENT: Final = 64
SPARE_PAGES: Final = 1024

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
"""


class Row(NamedTuple):
    """A change of one lineage at a time (milliseconds). No images: the lineage was dropped."""

    seq: int
    origin: str
    at: int
    images: bytes | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A whole lineage as it was after row `seq`; `finished_at` where it is over and wants to be kept only on disk."""

    origin: str
    seq: int
    transient: bool
    finished_at: int | None
    state: bytes


@dataclass(slots=True)
class Writes:
    """What one transaction writes: new rows, lineages to delete, snapshots, and the last row that can go."""

    rows: list[Row] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    trim: int | None = None

    def __bool__(self) -> bool:
        return bool(self.rows or self.gone or self.snapshots or self.trim)


@dataclass(slots=True)
class Recovered:
    """What the file holds: open lineages with the first row that no snapshot covers, the ids of those kept on disk."""

    lineages: dict[str, LineageImage] = field(default_factory=dict)
    uncovered: dict[str, int] = field(default_factory=dict)
    archived: set[str] = field(default_factory=set)
    first: int = 1
    last: int = 0
    at: int = 0


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
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._take_lock()

            if not self.path.exists():
                self._create()

            self._check_header()
            self._connect()
            recovered = self._checked()

        except (sqlite3.Error, OSError, ImageError) as error:
            self.close(checkpoint=False)
            raise JournalUnusable(f"{self.path} cannot be used: {_one_line(error)}") from error
        except BaseException:
            self.close(checkpoint=False)
            raise

        db = self._connection()
        db.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, False)
        db.execute("PRAGMA wal_autocheckpoint = 1000")

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
        lock, self._lock = self._lock, None

        if db is not None:
            with contextlib.suppress(sqlite3.Error):
                db.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, not checkpoint)
                db.close()

            wal = self.path.with_name(self.path.name + "-wal")

            if wal.exists() and wal.stat().st_size == 0:  # SQLite leaves an empty one when it may not tidy up
                wal.unlink()

        if lock is not None:
            os.close(lock)

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            raise sqlite3.ProgrammingError("the file is not open")

        return self._db

    def _take_lock(self) -> None:
        lock = os.open(self.path.with_name(self.path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise EngineInUse(f"{self.path} is in use by another process") from error

        self._lock = lock

    def _create(self) -> None:
        """Make the file under another name first: under its own it is either absent or whole."""
        if self.path.with_name(self.path.name + "-wal").exists():
            raise JournalUnusable(f"{self.path} is missing, but its write-ahead log is there")

        new = self.path.with_name(self.path.name + ".new")

        for suffix in ("", "-journal", "-wal", "-shm"):
            new.with_name(new.name + suffix).unlink(missing_ok=True)

        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))

        with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as db:
            db.executescript(_SCHEMA)

        new.rename(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)

        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _check_header(self) -> None:
        """Look at the first bytes before SQLite does: it may change a file merely by opening it."""
        with self.path.open("rb") as file:
            header = file.read(100)

        if header[:16] != b"SQLite format 3\0" or int.from_bytes(header[68:72], "big") != APPLICATION_ID:
            raise JournalUnusable(f"{self.path} is not an engine file of this program")

        if int.from_bytes(header[60:64], "big") != FORMAT:
            raise JournalUnusable(f"{self.path} has a format that this version does not know")

    def _connect(self) -> None:
        self._db = db = sqlite3.connect(
            self.path, isolation_level=None, timeout=0, check_same_thread=False, cached_statements=256
        )
        db.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA wal_autocheckpoint = 0")
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
    return "INSERT INTO journal VALUES " + ",".join(["(?,?,?,?)"] * rows)


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
            sql = "INSERT OR REPLACE INTO lineages VALUES " + ",".join(["(?,?,?)"] * len(going))
            db.execute(sql, [value for it in going for value in (it.origin, it.seq, it.state)])
            _delete(db, "finished", [it.origin for it in going])

        if over:
            sql = "INSERT OR REPLACE INTO finished VALUES " + ",".join(["(?,?,?,?,?)"] * len(over))
            fields = [(it.origin, it.seq, it.transient, it.finished_at, it.state) for it in over]
            db.execute(sql, [value for row in fields for value in row])
            _delete(db, "lineages", [it.origin for it in over])


def _one_line(reason: object) -> str:
    return " ".join(str(reason).split())
