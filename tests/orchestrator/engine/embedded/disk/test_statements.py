"""The statements that write to the engine's file: each thing once, and few different ones."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import Any, cast

import pytest

from orchestrator.engine.embedded.disk.engine_file import create_schema
from orchestrator.engine.embedded.disk.root_rows import RootRow
from orchestrator.engine.embedded.disk.root_table import create_root_table
from orchestrator.engine.embedded.disk.statements import ROWS_PER_STATEMENT, write
from orchestrator.engine.embedded.disk.writes import Snapshot, Writes

#: How many statements of one kind there may be: one for each power of two up to the limit.
FEW = ROWS_PER_STATEMENT.bit_length()

NUMBERS = (1, 2, 3, ROWS_PER_STATEMENT - 1, ROWS_PER_STATEMENT, ROWS_PER_STATEMENT + 1, 3 * ROWS_PER_STATEMENT - 7)


class Recorder:
    """A connection that only notes what is executed."""

    in_transaction = True

    def __init__(self) -> None:
        self.executed: list[tuple[str, int]] = []

    def execute(self, sql: str, bound: Any = ()) -> None:
        self.executed.append((sql, len(bound)))


def snapshots(number: int, *, finished_at: int | None) -> list[Snapshot]:
    return [
        Snapshot(
            origin=(origin := f"w.{each}"),
            seq=each,
            transient=False,
            finished_at=finished_at,
            state=b"{}",
            root=None if finished_at is None else RootRow(origin, "w", "succeeded", each),
        )
        for each in range(number)
    ]


def executed(writes: Writes) -> list[tuple[str, int]]:
    recorder = Recorder()
    write(cast("sqlite3.Connection", recorder), writes)

    return recorder.executed


def test_there_are_few_statements_however_many_rows_there_are() -> None:
    statements = {
        sql
        for number in range(1, 3 * ROWS_PER_STATEMENT)
        for writes in (
            Writes(gone=[f"w.{each}" for each in range(number)]),
            Writes(snapshots=snapshots(number, finished_at=None)),
            Writes(snapshots=snapshots(number, finished_at=1)),
        )
        for sql, _ in executed(writes)
    }
    kinds = {sql.partition("(")[0] for sql in statements}

    assert len(statements) <= FEW * len(kinds)


@pytest.mark.parametrize("number", NUMBERS)
def test_nothing_is_written_twice(number: int) -> None:
    inserted = [
        bound
        for sql, bound in executed(Writes(snapshots=snapshots(number, finished_at=1)))
        if sql.startswith("INSERT OR REPLACE INTO finished")
    ]

    assert sum(inserted) == 5 * number


@pytest.mark.parametrize("number", NUMBERS)
def test_everything_is_written_and_deleted_again(number: int) -> None:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        create_schema(db)
        create_root_table(db)

        def held() -> list[int]:
            return [
                db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - our names
                for table in ("lineages", "finished", "roots")
            ]

        write(db, Writes(snapshots=snapshots(number, finished_at=None)))
        assert held() == [number, 0, 0]

        write(db, Writes(snapshots=snapshots(number, finished_at=1)))
        assert held() == [0, number, number]

        write(db, Writes(gone=[f"w.{each}" for each in range(number)]))
        assert held() == [0, 0, 0]
