"""The table of finished workflows: pages out of many, rows that are added, replaced and deleted, and old files."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from resonate.connections.local import DurablePromise

from orchestrator.engine.embedded.disk import root_table
from orchestrator.engine.embedded.disk.engine_file import create_schema
from orchestrator.engine.embedded.disk.images import encode, new_promise
from orchestrator.engine.embedded.disk.journal import Journal
from orchestrator.engine.embedded.disk.root_rows import RootRow
from orchestrator.engine.embedded.disk.root_table import create_root_table, find_roots, read_roots
from orchestrator.engine.embedded.disk.statements import insert_roots, write
from orchestrator.engine.embedded.disk.writes import Snapshot, Writes
from orchestrator.engine.search import Position, RootSearch, wanted
from orchestrator.stored_names import NONCE_TAG

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from orchestrator.engine.search import Status

STATUSES: tuple[Status, ...] = ("succeeded", "failed", "expired", "ended")


@contextlib.contextmanager
def table(rows: Sequence[RootRow] = ()) -> Iterator[sqlite3.Connection]:
    """Open a new engine database that has these rows."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        create_schema(db)
        create_root_table(db)
        insert_roots(db, rows)

        yield db


def rows_of(numbers: list[int]) -> list[RootRow]:
    """Return a row for each number, no two of which have an id in common."""
    return [
        RootRow(f"{'abc'[number % 3]}.{place}", "abc"[number % 3], STATUSES[number % 4], number % 7)
        for place, number in enumerate(numbers)
    ]


@given(
    st.lists(st.integers(0, 83)),
    st.sampled_from([None, "a", "b", "z"]),
    st.frozensets(st.sampled_from(STATUSES), max_size=2),
    st.none() | st.tuples(st.integers(0, 7), st.sampled_from(["a.1", "b.2", "zz"])),
    st.tuples(st.none() | st.integers(0, 7), st.none() | st.integers(0, 7)),
)
def test_a_page_has_what_a_look_at_every_row_finds(
    numbers: list[int],
    workflow: str | None,
    statuses: frozenset[Status],
    before: tuple[int, str] | None,
    between: tuple[int | None, int | None],
) -> None:
    since, until = between
    rows = rows_of(numbers)
    place = None if before is None else Position(*before)
    search = RootSearch(limit=3, workflow=workflow, statuses=statuses, before=place, since=since, until=until)
    fitting = [
        Position(row.at, row.origin)
        for row in rows
        if workflow in {None, row.workflow}
        and (not statuses or row.status in wanted(statuses))
        and (place is None or (row.at, row.origin) < place)
        and (since is None or row.at >= since)
        and (until is None or row.at <= until)
    ]

    with table(rows) as db:
        assert find_roots(db, search) == sorted(fitting, reverse=True)[:4]


def test_a_page_looks_at_no_more_rows_than_it_needs() -> None:
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 100

    with table([RootRow(f"a.{number:05}", "a", STATUSES[number % 2], number) for number in range(5000)]) as db:
        db.set_progress_handler(count, 100)
        found = find_roots(db, RootSearch(limit=10, before=Position(2500, "")))

    assert found[0] == Position(2499, "a.02499")
    # A look at every row takes ten times as many steps of SQLite's machine.
    assert steps < 5000


def root(id_: str, *, at: int = 1) -> DurablePromise:
    return DurablePromise(
        id=id_,
        state="resolved",
        param=None,
        value=None,
        tags={NONCE_TAG: "x"},
        timeout_at=9,
        created_at=at,
        settled_at=5,
        awaiters=set(),
        subscribers=set(),
    )


def snapshot(id_: str, *, listed: bool = True) -> Snapshot:
    row = RootRow(id_, id_.partition(".")[0], "ended", 1) if listed else None

    return Snapshot(id_, 1, False, 7, encode([new_promise(root(id_))]), row)


def test_a_workflow_is_listed_from_its_archiving_to_its_deletion() -> None:
    with table() as db:
        write(db, Writes(snapshots=[snapshot("a.1"), snapshot("a.2")]))
        write(db, Writes(snapshots=[snapshot("a.1")]))
        assert [place.id for place in find_roots(db, RootSearch(limit=9))] == ["a.2", "a.1"]

        write(db, Writes(gone=["a.2"]))
        assert [place.id for place in find_roots(db, RootSearch(limit=9))] == ["a.1"]


def test_a_file_of_an_earlier_version_is_completed_when_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(root_table, "_SLICE", 2)
    path = tmp_path / "engine.db"
    journal = Journal(path)
    journal.open()
    others = [snapshot("a.9~watch", listed=False), Snapshot("a.8", 1, False, 7, b"damaged")]
    journal.commit(Writes(snapshots=[*(snapshot(f"a.{number}", listed=number == 3) for number in range(5)), *others]))
    journal.close()

    with_all = Journal(path)
    with_all.open()
    found = with_all.find_roots(RootSearch(limit=9))
    with_all.close()

    assert [place.id for place in found] == ["a.4", "a.3", "a.2", "a.1", "a.0"]


def test_the_roots_of_a_page_are_read_without_the_rest_of_their_lineages() -> None:
    lineage = encode([new_promise(root("a.1")), new_promise(root("a.1:1"))])

    with table() as db:
        write(db, Writes(snapshots=[Snapshot("a.1", 1, False, 7, lineage), Snapshot("a.2", 1, False, 7, b"damaged")]))
        found = read_roots(db, ["a.1", "a.2", "a.3"])

    assert found == {"a.1": root("a.1"), "a.2": None}
