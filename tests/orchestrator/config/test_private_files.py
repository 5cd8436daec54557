"""Only the worker's user can read what the worker writes, from the first byte on, under any umask."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING

import pytest

from orchestrator.config.private_files import make_file, make_folder
from orchestrator.engine.embedded.disk.journal import Journal
from orchestrator.workflows.shop.order_book import OrderBook

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    """The umask that takes no right away."""
    before = os.umask(0)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {path.relative_to(folder).as_posix(): path.stat().st_mode & 0o777 for path in folder.rglob("*")}


async def test_the_order_book_and_its_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, int]] = []
    connect = sqlite3.connect

    def watched(*arguments: object, **named: object) -> sqlite3.Connection:
        seen.append(modes(tmp_path))
        return connect(*arguments, **named)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(sqlite3, "connect", watched)
    book = OrderBook(tmp_path / "a/.countersign/orders.db")
    await book.enter("1", order_id="1", customer="a", total_cents=1)
    await book.enter("2", order_id="2", customer="a", total_cents=1)

    private = {"a": 0o700, "a/.countersign": 0o700, "a/.countersign/orders.db": 0o600}
    assert seen == [private, private]
    assert modes(tmp_path) == private


def test_the_engine_s_file_and_everything_beside_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a/b/engine.db")
    journal.open()
    found = modes(tmp_path)
    journal.close()

    assert {path: mode for path, mode in found.items() if mode != (0o600 if "." in path else 0o700)} == {}
    assert {"a/b/engine.db", "a/b/engine.db.lock", "a/b/engine.db-wal"} <= set(found)


def test_what_is_there_already_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "file").chmod(0o640)
    make_file(tmp_path / "file")
    make_folder(tmp_path)

    assert (tmp_path / "file").read_text() == "kept"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
