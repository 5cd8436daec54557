"""The engine's file belongs to this program, is complete and has one owner, or it is refused and left as it is."""

from __future__ import annotations

import multiprocessing
import sqlite3
import stat
from multiprocessing import synchronize
from pathlib import Path

import pytest
from support.embedded import engine
from support.journals import fingerprint, row

from orchestrator.engine.embedded.connection import EmbeddedConnection
from orchestrator.engine.embedded.disk.journal import Journal
from orchestrator.engine.embedded.disk.writes import Writes
from orchestrator.errors import EngineInUse, JournalUnusable


def test_the_file_is_for_its_owner_only(journal: Journal, path: Path) -> None:
    journal.commit(Writes(rows=[row(1, 1)]))

    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


def test_a_second_owner_is_refused_at_once_and_the_file_is_named(journal: Journal, path: Path) -> None:
    with pytest.raises(EngineInUse, match=r"^\S+engine\.db is in use by another process$"):
        Journal(path).open()


def _try_twice(path: str, answers: multiprocessing.queues.Queue[str], again: synchronize.Event) -> None:
    for _ in range(2):
        try:
            Journal(Path(path)).open()
        except EngineInUse as error:
            answers.put(str(error))
        else:
            answers.put("opened")

        again.wait(60)


@pytest.mark.slow
def test_another_process_is_refused_until_the_file_is_closed(journal: Journal, path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    answers: multiprocessing.queues.Queue[str] = context.Queue()
    again = context.Event()
    process = context.Process(target=_try_twice, args=(str(path), answers, again))
    process.start()

    assert "is in use" in answers.get(timeout=60)

    journal.close()
    again.set()

    assert answers.get(timeout=60) == "opened"

    process.join()


def test_a_file_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()

    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE cats(name)")

    db.close()
    before = fingerprint(path.parent)

    with pytest.raises(JournalUnusable, match="not an engine file"):
        Journal(path).open()

    assert fingerprint(path.parent) == before


@pytest.mark.parametrize("content", [b"", b"hello", b"SQLite format 3\0" + bytes(2000)])
def test_a_file_that_is_not_a_database_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)

    with pytest.raises(JournalUnusable, match="not an engine file"):
        Journal(path).open()

    assert path.read_bytes() == content


def test_an_unknown_format_is_refused_and_left_alone(journal: Journal, path: Path) -> None:
    journal.close()

    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 2")

    db.close()
    before = fingerprint(path.parent)

    with pytest.raises(JournalUnusable, match="format"):
        Journal(path).open()

    assert fingerprint(path.parent) == before


def test_a_write_ahead_log_without_its_file_is_refused(journal: Journal, path: Path) -> None:
    journal.commit(Writes(rows=[row(1, 1)]))
    journal.close(checkpoint=False)
    path.unlink()

    with pytest.raises(JournalUnusable, match="missing"):
        Journal(path).open()

    assert not path.exists()


def test_a_folder_that_cannot_be_used_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(JournalUnusable) as refused:
        Journal(tmp_path / "file" / "engine.db").open()

    assert "\n" not in str(refused.value)


def test_a_file_that_was_only_half_created_is_created_again(path: Path) -> None:
    path.parent.mkdir()
    path.with_name("engine.db.new").write_bytes(b"half")
    journal = Journal(path)

    assert journal.open().last == 0

    journal.close()

    assert not path.with_name("engine.db.new").exists()


async def test_a_file_in_use_is_refused_by_its_name(path: Path) -> None:
    async with engine(path):
        with pytest.raises(EngineInUse, match=r"engine\.db is in use"):
            await EmbeddedConnection(path).open()


async def test_a_file_of_another_kind_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("no database")

    with pytest.raises(JournalUnusable):
        await EmbeddedConnection(path).open()

    assert path.read_text() == "no database"
