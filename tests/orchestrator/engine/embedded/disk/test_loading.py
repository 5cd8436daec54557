"""Loading the file: every row counts once, and a damaged file is refused."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from support.journals import damage, fingerprint, images, reopened, row, versions

from orchestrator.engine.embedded.disk.images import encode
from orchestrator.engine.embedded.disk.journal import Journal
from orchestrator.engine.embedded.disk.writes import Row, Snapshot, Writes
from orchestrator.errors import JournalUnusable


def test_a_snapshot_replaces_the_rows_before_it(journal: Journal, path: Path) -> None:
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
