"""The journal of a trial is the real one, and a dead process writes nothing to it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import pytest

from orchestrator.engine.embedded.disk.images import encode
from orchestrator.engine.embedded.disk.journal import Journal
from orchestrator.engine.embedded.disk.writes import Row, Writes
from orchestrator.testing.trial.memory_journal import CrashPlan, MemoryJournal, new_database


class Death:
    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


def opened(database: sqlite3.Connection, death: Death, plan: CrashPlan) -> Any:
    journal = MemoryJournal(database, plan, death)
    journal.open()

    return journal


def row(number: int) -> Writes:
    return Writes(rows=[Row(number, "a", 0, encode([]))])


def test_what_is_committed_outlives_the_process() -> None:
    death, plan = Death(), CrashPlan(everywhere=False)

    with closing(new_database()) as database:
        first = opened(database, death, plan)
        first.thread().submit(first.commit, row(1)).result()
        first.thread().submit(Journal.put_mark, first, digest=b"x", limit=5)
        first.close()

        assert MemoryJournal(database, plan, death).open().last == 1
        assert death.times == 0


def test_a_dead_process_writes_nothing_and_learns_nothing() -> None:
    death, plan = Death(), CrashPlan(everywhere=False)

    with closing(new_database()) as database:
        first = opened(database, death, plan)
        first.end()

        assert not first.thread().submit(first.commit, row(1)).done()
        assert MemoryJournal(database, plan, death).open().last == 0


def test_everywhere_each_change_is_lost_once_and_recorded_once_unheard() -> None:
    plan = CrashPlan(everywhere=True)

    with closing(new_database()) as database:
        for number, last in ((1, 0), (1, 1), (2, 1), (2, 2)):
            death = Death()
            life = opened(database, death, plan)
            assert not life.thread().submit(life.commit, row(number)).done()
            assert death.times == 1
            assert not life.thread().submit(life.commit, row(number + 1)).done()
            assert MemoryJournal(database, plan, death).open().last == last


def test_an_error_is_raised_to_whoever_waits() -> None:
    with closing(new_database()) as database:
        life = opened(database, Death(), CrashPlan(everywhere=False))

        with pytest.raises(sqlite3.OperationalError):
            life.thread().submit(lambda: database.execute("no SQL")).result()
