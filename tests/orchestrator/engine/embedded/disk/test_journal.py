"""The engine's file: whole or refused, one owner, and no larger than what is in it."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.engine.embedded.disk.images import TaskImage, encode
from orchestrator.engine.embedded.disk.journal import Journal
from orchestrator.engine.embedded.disk.writes import Recovered, Row, Snapshot, Writes
from orchestrator.errors import EngineInUse, JournalUnusable


def images(version: int, id_: str = "a") -> bytes:
    return encode([TaskImage(id_, "suspended", version, None, None, set())])


def row(seq: int, version: int, origin: str = "a") -> Row:
    return Row(seq, origin, 1000 + seq, images(version, origin))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "engine.db"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    journal = Journal(path)
    journal.open()
    yield journal
    journal.close()


def reopened(path: Path) -> Recovered:
    journal = Journal(path)

    try:
        return journal.open()
    finally:
        journal.close()


def versions(recovered: Recovered) -> dict[str, int]:
    return {origin: image.tasks[origin].version for origin, image in recovered.lineages.items()}


def fingerprint(folder: Path) -> dict[str, str]:
    files = [file for file in folder.iterdir() if file.suffix != ".lock"]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_what_was_committed_is_there_when_it_is_opened_again(journal: Journal, path: Path) -> None:
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


def test_a_snapshot_stands_for_the_rows_before_it(journal: Journal, path: Path) -> None:
    journal.commit(Writes(rows=[row(1, 1), row(2, 7, "b"), row(3, 2)]))
    journal.commit(Writes(rows=[row(4, 3)], snapshots=[Snapshot("a", 3, False, None, images(2))], trim=1))
    journal.close()
    recovered = reopened(path)

    assert versions(recovered) == {"a": 3, "b": 7}
    assert recovered.first == 2
    assert recovered.uncovered == {"b": 2, "a": 4}


def test_a_finished_lineage_is_known_but_not_loaded(journal: Journal, path: Path) -> None:
    journal.commit(Writes(rows=[row(1, 1)]))
    journal.commit(Writes(snapshots=[Snapshot("a", 1, False, 500, images(9))]))
    image = journal.read("a")
    journal.close()
    recovered = reopened(path)

    assert image is not None
    assert image.tasks["a"].version == 9
    assert recovered.archived == {"a"}
    assert not recovered.lineages


def test_a_finished_lineage_that_has_changed_since_is_loaded(journal: Journal, path: Path) -> None:
    journal.commit(Writes(rows=[row(1, 1)], snapshots=[Snapshot("a", 1, False, 500, images(1))]))
    journal.commit(Writes(rows=[row(2, 2)]))
    journal.close()
    recovered = reopened(path)

    assert versions(recovered) == {"a": 2}
    assert not recovered.archived


def test_a_lineage_is_in_one_place_however_often_it_is_written(journal: Journal, path: Path) -> None:
    journal.commit(Writes(rows=[row(1, 1)], snapshots=[Snapshot("a", 1, False, 500, images(1))]))
    journal.commit(Writes(snapshots=[Snapshot("a", 1, False, None, images(1))]))
    journal.close()
    recovered = reopened(path)

    assert versions(recovered) == {"a": 1}
    assert not recovered.archived


def test_a_dropped_lineage_does_not_come_back_from_what_is_left_of_its_rows(journal: Journal, path: Path) -> None:
    journal.commit(Writes(rows=[row(1, 1), row(2, 1, "b"), row(3, 2)]))
    journal.commit(Writes(snapshots=[Snapshot("a", 3, True, 500, images(2))], trim=1))
    journal.commit(Writes(rows=[Row(4, "a", 2000, None)], gone=["a"]))
    journal.close()
    recovered = reopened(path)

    assert versions(recovered) == {"b": 1}
    assert not recovered.archived


def test_an_id_may_be_used_again_after_its_lineage_was_dropped(journal: Journal, path: Path) -> None:
    journal.commit(Writes(rows=[row(1, 1), Row(2, "a", 2000, None), row(3, 8)], gone=["a"]))
    journal.close()

    assert versions(reopened(path)) == {"a": 8}


def test_lineages_over_before_a_time_are_found_by_class_and_age(journal: Journal) -> None:
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


def test_pages_that_are_free_are_used_again_and_given_back(journal: Journal, path: Path) -> None:
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


def test_the_file_is_for_its_owner_only(journal: Journal, path: Path) -> None:
    journal.commit(Writes(rows=[row(1, 1)]))

    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


def test_a_second_owner_is_refused_at_once_by_name(journal: Journal, path: Path) -> None:
    with pytest.raises(EngineInUse, match=r"^\S+engine\.db is in use by another process$"):
        Journal(path).open()


def _try(path: str, answer: multiprocessing.queues.Queue[str]) -> None:
    try:
        Journal(Path(path)).open()
    except EngineInUse as error:
        answer.put(str(error))
    else:
        answer.put("opened")


def test_another_process_is_refused_and_may_have_it_afterwards(journal: Journal, path: Path) -> None:
    context = multiprocessing.get_context("spawn")

    for expected in ("is in use", "opened"):
        answer: multiprocessing.queues.Queue[str] = context.Queue()
        process = context.Process(target=_try, args=(str(path), answer))
        process.start()

        assert expected in answer.get(timeout=60)

        process.join()
        journal.close()


def test_a_file_of_something_else_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()

    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE cats(name)")

    db.close()
    before = fingerprint(path.parent)

    with pytest.raises(JournalUnusable, match="not an engine file"):
        Journal(path).open()

    assert fingerprint(path.parent) == before


@pytest.mark.parametrize("content", [b"", b"hello", b"SQLite format 3\0" + bytes(2000)])
def test_no_database_at_all_is_refused_and_left_alone(path: Path, content: bytes) -> None:
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


def test_a_folder_that_cannot_be_had_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(JournalUnusable) as refused:
        Journal(tmp_path / "file" / "engine.db").open()

    assert "\n" not in str(refused.value)


def damage(path: Path, sql: str, *values: object) -> dict[str, str]:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute(sql, values)
    db.close()
    return fingerprint(path.parent)


@pytest.mark.parametrize(
    ("sql", "values"),
    [
        ("UPDATE journal SET images = ? WHERE seq = 2", (images(2)[:-1] + b"}",)),
        ("UPDATE journal SET images = ? WHERE seq = 2", (encode([])[:4] + b'{"not": "ours"}',)),
        ("UPDATE journal SET images = ? WHERE seq = 2", (b"",)),
        ("UPDATE lineages SET state = ?", (b"\0" * 40,)),
        ("DELETE FROM journal WHERE seq = ?", (2,)),
        ("DROP TABLE lineages", ()),
    ],
)
def test_a_damaged_record_is_refused_in_one_line_and_left_alone(
    journal: Journal, path: Path, sql: str, values: tuple[object, ...]
) -> None:
    journal.commit(Writes(rows=[row(seq, seq) for seq in (1, 2, 3)]))
    journal.commit(Writes(snapshots=[Snapshot("b", 1, False, None, images(1, "b"))]))
    journal.close()
    before = damage(path, sql, *values)

    with pytest.raises(JournalUnusable) as refused:
        Journal(path).open()

    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)
    assert fingerprint(path.parent) == before


def test_a_file_that_is_refused_keeps_its_log_as_it_is_too(journal: Journal, path: Path) -> None:
    journal.commit(Writes(rows=[row(seq, seq, f"w{seq}") for seq in range(1, 1001)]))
    journal.commit(Writes(rows=[Row(1001, "a", 1, b"damaged")]))
    journal.close(checkpoint=False)
    before = fingerprint(path.parent)

    with pytest.raises(JournalUnusable):
        Journal(path).open()

    assert "engine.db-wal" in before
    assert fingerprint(path.parent) == before


def test_damaged_pages_are_refused_and_left_alone(journal: Journal, path: Path) -> None:
    journal.commit(Writes(rows=[row(seq, seq, f"w{seq}") for seq in range(1, 2001)]))
    journal.close()
    content = bytearray(path.read_bytes())
    content[8192:] = os.urandom(len(content) - 8192)
    path.write_bytes(content)
    before = fingerprint(path.parent)

    with pytest.raises(JournalUnusable):
        Journal(path).open()

    assert fingerprint(path.parent) == before


def test_a_log_torn_in_its_last_record_gives_what_was_committed_before(journal: Journal, path: Path) -> None:
    for seq in range(1, 11):
        journal.commit(Writes(rows=[row(seq, seq)]))

    copy = path.parent.with_name("copy")
    shutil.copytree(path.parent, copy)
    wal = copy / "engine.db-wal"
    frame = 4096 + 24

    for missing, last in ((1, 9), (frame - 1, 9), (frame, 9), (frame + 1, 8), (5 * frame + 100, 4)):
        shutil.copy(path.parent / "engine.db-wal", wal)
        os.truncate(wal, wal.stat().st_size - missing)
        other = Journal(copy / "engine.db")
        found = other.open()
        other.close(checkpoint=False)

        assert (found.last, versions(found)) == (last, {"a": last})


def test_a_file_that_was_only_half_made_is_made_again(path: Path) -> None:
    path.parent.mkdir()
    path.with_name("engine.db.new").write_bytes(b"half")
    journal = Journal(path)

    assert journal.open().last == 0

    journal.close()

    assert not path.with_name("engine.db.new").exists()


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
