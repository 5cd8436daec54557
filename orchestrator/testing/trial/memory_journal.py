"""The embedded engine's journal in memory: it outlives the engine that writes it, as a file outlives a process.

It is the real journal, with SQL and recovery, over a database of SQLite that has no file. Each life of the process gets
a handle of its own, which writes nothing any more once that life is over.
"""

from __future__ import annotations

import sqlite3
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from orchestrator.engine.embedded.disk.engine_file import create_schema
from orchestrator.engine.embedded.disk.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.engine.embedded.disk.writes import Recovered


class CrashPlan:
    """Decides at which changes the process dies: with `everywhere` once before and once after each, else at none."""

    def __init__(self, *, everywhere: bool) -> None:
        self._everywhere: Final = everywhere
        #: Whether the change that is tried next was already lost once.
        self._lost_once = False

    def dies_before(self) -> bool:
        """Return whether the process dies before the change that it is about to record."""
        self._lost_once = self._everywhere and not self._lost_once

        return self._lost_once

    def dies_after(self) -> bool:
        """Return whether the process dies now that this change is recorded."""
        return self._everywhere


def new_database() -> sqlite3.Connection:
    """Return an empty engine database in memory."""
    database = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False, cached_statements=256)
    create_schema(database)
    database.execute("PRAGMA temp_store = MEMORY")

    return database


class MemoryJournal(Journal):
    """One life's handle on the database. `die` is called when the plan says so; from then on nothing is written.

    Everything happens at once, on the thread of the event loop.
    """

    def __init__(self, database: sqlite3.Connection, plan: CrashPlan, die: Callable[[], None]) -> None:
        super().__init__(Path(":memory:"))
        self._database = database
        self._plan = plan
        self._die = die
        self._dead = False

    def thread(self) -> Executor:
        """Return what calls the journal's methods, in place of a thread."""
        return _AtOnce(self)

    def open(self) -> Recovered:
        """Return what the database holds."""
        self._db = self._database
        recovered = self._checked()
        self._create_tables()

        return recovered

    def close(self, *, checkpoint: bool = True) -> None:  # noqa: ARG002 - there is no file
        """Leave the database as it is."""
        self._db = None

    def end(self) -> None:
        """Write nothing any more, and let everything that still wants to be written wait forever."""
        self._dead = True

    def call(self, step: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Return the future of a step; one that never completes if the process has died before it was done."""
        future: Future[Any] = Future()
        records = step == self.commit

        if not self._dead and records and self._plan.dies_before():
            self._dead = True
            self._die()

        if self._dead:
            return future

        try:
            result = step(*arguments)
        except Exception as error:  # noqa: BLE001 - not swallowed: it is raised to whoever awaits
            future.set_exception(error)
            return future

        if records and self._plan.dies_after():
            self._dead = True
            self._die()
            return future

        future.set_result(result)

        return future


class _AtOnce(Executor):
    def __init__(self, journal: MemoryJournal) -> None:
        self._journal = journal

    def submit(self, fn: Callable[..., Any], /, *args: Any, **_: Any) -> Future[Any]:
        return self._journal.call(fn, *args)
