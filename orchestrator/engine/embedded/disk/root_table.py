"""The table of finished workflows in the engine's file: one short row for each, by which they are listed.

One index serves every list. It begins with the workflow and its state, of which there are few, and a list is merged
from one place in the index for each of them. So a page costs the same however many workflows are over. The table is
derived: what it lacks, because an earlier version wrote the file, is added when the file is opened.
"""

from __future__ import annotations

from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Final

from orchestrator.engine.embedded.disk.images import ImageError, root_image
from orchestrator.engine.embedded.disk.root_rows import row_of
from orchestrator.engine.embedded.disk.statements import insert_roots, transaction
from orchestrator.engine.search import Position, wanted

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

    from resonate.connections.local import DurablePromise

    from orchestrator.engine.search import RootSearch, Status

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS roots(
  origin TEXT PRIMARY KEY, workflow TEXT NOT NULL, status TEXT NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID
"""
_INDEX: Final = "CREATE INDEX IF NOT EXISTS roots_by_start ON roots(workflow, status, at, origin)"

#: Most lineages that are no workflow have a `~` in their id, and no workflow has.
_MISSING: Final = """
SELECT origin, state FROM finished WHERE origin > ? AND instr(origin, '~') = 0
AND NOT EXISTS (SELECT 1 FROM roots WHERE roots.origin = finished.origin) ORDER BY origin LIMIT ?
"""
_SLICE: Final = 1000

#: The workflows, each with its states: one lookup finds the next. (A comparison of both columns at once would look at
#: every row of a workflow.)
_FIRST_LINE: Final = "SELECT workflow, status FROM roots ORDER BY workflow, status LIMIT 1"
_NEXT_STATUS: Final = "SELECT workflow, status FROM roots WHERE workflow = ? AND status > ? ORDER BY status LIMIT 1"
_NEXT_WORKFLOW: Final = "SELECT workflow, status FROM roots WHERE workflow > ? ORDER BY workflow, status LIMIT 1"
_PAGE: Final = """
SELECT at, origin FROM roots WHERE workflow = ? AND status = ? AND (at, origin) < (?, ?) AND at >= ?
ORDER BY at DESC, origin DESC LIMIT ?
"""

#: Later than every time, and earlier.
_NEVER: Final = 2**63 - 1
_ALWAYS: Final = -(2**63)


def create_root_table(db: sqlite3.Connection) -> None:
    """Create the table if it does not exist, and add the finished workflows that it lacks.

    Raises:
        sqlite3.Error: the file cannot be written.
    """
    db.execute(_TABLE)
    db.execute(_INDEX)
    last = ""

    while missing := db.execute(_MISSING, (last, _SLICE)).fetchall():
        last = missing[-1][0]
        roots = [_root_in(origin, state) for origin, state in missing]
        rows = [row for root in roots if root is not None and (row := row_of(root)) is not None]

        with transaction(db):
            insert_roots(db, rows)


def find_roots(db: sqlite3.Connection, search: RootSearch) -> list[Position]:
    """Return the finished workflows to be found, at most as many as the search's limit and one more."""
    statuses = wanted(search.statuses)
    at, origin = search.before or (_NEVER, "")

    if search.until is not None:
        at, origin = min((at, origin), (search.until + 1, ""))

    since = _ALWAYS if search.since is None else search.since
    lines = [
        db.execute(_PAGE, (workflow, status, at, origin, since, search.limit + 1)).fetchall()
        for workflow, status in _lines(db)
        if search.workflow in {None, workflow} and (not statuses or status in statuses)
    ]

    return [Position(*row) for row in islice(merge(*lines, reverse=True), search.limit + 1)]


def read_roots(db: sqlite3.Connection, origins: Iterable[str]) -> dict[str, DurablePromise | None]:
    """Return the roots of these finished lineages; None for one that is damaged, and none that the file does not have.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    roots: dict[str, DurablePromise | None] = {}

    for origin in origins:
        found = db.execute("SELECT state FROM finished WHERE origin = ?", (origin,)).fetchone()

        if found is not None:
            roots[origin] = _root_in(origin, found[0])

    return roots


def _lines(db: sqlite3.Connection) -> Iterator[tuple[str, Status]]:
    line: tuple[str, Status] | None = db.execute(_FIRST_LINE).fetchone()

    while line is not None:
        yield line
        line = db.execute(_NEXT_STATUS, line).fetchone() or db.execute(_NEXT_WORKFLOW, line[:1]).fetchone()


def _root_in(origin: str, state: bytes) -> DurablePromise | None:
    try:
        return root_image(state, origin)
    except ImageError:
        return None
