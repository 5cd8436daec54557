"""The engine's file contains what was committed, and does not grow beyond that."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from support.journals import images, reopened, row, versions

from orchestrator.engine.embedded.disk.journal import Journal
from orchestrator.engine.embedded.disk.writes import Row, Snapshot, Writes


def test_committed_changes_are_there_when_the_file_is_opened_again(journal: Journal, path: Path) -> None:
    journal.commit(Writes(rows=[row(1, 1), row(2, 5, "b")]))
    journal.commit(Writes(rows=[row(3, 2)]))
    journal.close()
    recovered = reopened(path)

    assert versions(recovered) == {"a": 2, "b": 5}
    assert (recovered.first, recovered.last, recovered.at) == (1, 3, 1003)
    assert recovered.uncovered == {"a": 1, "b": 2}


def test_many_rows_are_one_transaction(journal: Journal, path: Path) -> None:
    journal.commit(Writes(rows=[row(seq, seq, f"w{seq}") for seq in range(1, 1001)]))
    journal.close()

    assert versions(reopened(path)) == {f"w{seq}": seq for seq in range(1, 1001)}


def test_lineages_that_finished_before_a_time_are_found_by_class_and_age(journal: Journal) -> None:
    journal.commit(
        Writes(
            rows=[row(1, 1)],
            snapshots=[
                Snapshot("late", 1, False, 300, images(1)),
                Snapshot("early", 1, False, 100, images(1)),
                Snapshot("short", 1, True, 100, images(1)),
            ],
        )
    )

    assert journal.expired(400, transient=False, limit=10) == ["early", "late"]
    assert journal.expired(300, transient=False, limit=10) == ["early"]
    assert journal.expired(400, transient=True, limit=10) == ["short"]
    assert journal.expired(400, transient=False, limit=1) == ["early"]


def test_free_pages_are_reused_and_returned_to_the_file_system(journal: Journal, path: Path) -> None:
    seq = 0

    for _ in range(30):
        rows = [row(seq + number, number, "x" * 100 + str(number)) for number in range(1, 1001)]
        seq += len(rows)
        journal.commit(Writes(rows=rows, trim=seq - 1))

    journal.close()
    once = path.stat().st_size

    assert once < 2_000_000

    journal.open()
    journal.commit(Writes(rows=[Row(seq + number, "a", 1, bytes(4000)) for number in range(1, 3001)]))
    journal.commit(Writes(rows=[row(seq + 3001, 1)], trim=seq + 3000))
    db = journal._connection()
    (before,) = db.execute("PRAGMA page_count").fetchone()
    journal.shrink()

    assert db.execute("PRAGMA page_count").fetchone() <= (before - 1024,)


def test_a_commit_that_does_not_fit_writes_nothing_and_a_later_one_does(journal: Journal, path: Path) -> None:
    journal.commit(Writes(rows=[row(1, 1)]))
    db = journal._connection()
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {pages + 2}")

    with pytest.raises(sqlite3.OperationalError, match="full"):
        journal.commit(Writes(rows=[row(seq, seq) for seq in range(2, 1002)]))

    with pytest.raises(sqlite3.OperationalError, match="full"):
        journal.reload()

    db.execute("PRAGMA max_page_count = 1000000")

    assert versions(journal.reload()) == {"a": 1}

    journal.commit(Writes(rows=[row(2, 2)]))
    journal.close()

    assert versions(reopened(path)) == {"a": 2}
