"""Marks of the embedded engine outlive its process, and their number is limited."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from resonate.timing import now_ms

from orchestrator.engine.embedded.durable_state import DurableState
from orchestrator.engine.embedded.marks import FileMarks, MemoryMarks
from orchestrator.engine.embedded.retention import Retention
from orchestrator.engine.marks import Marks
from orchestrator.errors import EngineUnavailable


def digest(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def engine_state(path: Path | None) -> DurableState:
    retention = Retention(ordinary=1000, transient=1000)
    return DurableState(path, clock=now_ms, retention=retention, publish=lambda *_: None, restored=lambda _: None)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_the_oldest_marks_make_room_for_new_ones(tmp_path: Path, kind: str) -> None:
    state = engine_state(tmp_path / "engine.db")
    await state.open()
    marks: Marks = MemoryMarks(limit=3) if kind == "memory" else FileMarks(state, limit=3)

    for number in (0, 1, 2, 0, 3, 4):
        await marks.put(digest(number))

    assert [await marks.has(digest(number)) for number in range(5)] == [False, False, True, True, True]
    await state.close()


async def test_marks_outlive_the_process_and_a_file_of_a_version_without_them_gets_them(tmp_path: Path) -> None:
    path = tmp_path / "engine.db"
    state = engine_state(path)
    await state.open()
    await state.close()

    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE marks")

    state = engine_state(path)
    await state.open()
    await FileMarks(state).put(digest(1))
    await state.close()

    state = engine_state(path)
    await state.open()
    assert await FileMarks(state).has(digest(1))
    await state.close()


async def test_a_mark_that_cannot_be_read_is_an_error_and_never_counts_as_missing(tmp_path: Path) -> None:
    state = engine_state(tmp_path / "engine.db")
    marks = FileMarks(state)

    for ask in (marks.has, marks.put):
        with pytest.raises(EngineUnavailable):
            await ask(digest(1))

    await state.open()
    await state.run(lambda journal: journal._connection().execute("DROP TABLE marks"))

    for ask in (marks.has, marks.put):
        with pytest.raises(EngineUnavailable):
            await ask(digest(1))

    await state.close()
    with pytest.raises(EngineUnavailable):
        await marks.has(digest(1))
