"""Files on a worker's disk: whole or not there, private, and never more than the folder may hold."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Never

import pytest

from orchestrator.durable.kept_files import KeptFiles


def sizes(folder: Path) -> list[int]:
    return sorted(file.stat().st_size for file in folder.iterdir())


async def test_what_is_written_is_read_by_its_key(tmp_path: Path) -> None:
    kept = KeptFiles(tmp_path / "kept")
    assert await kept.read("a/../b") is None

    for data in (b"one", b"two"):
        await kept.write("a/../b", data)
        assert await kept.read("a/../b") == data

    assert await kept.read("other") is None
    assert sizes(tmp_path / "kept") == [3]


async def test_only_the_service_can_read_it_under_any_umask(tmp_path: Path) -> None:
    mask = os.umask(0)

    try:
        await KeptFiles(tmp_path / "above" / "kept").write("a", b"page")
    finally:
        os.umask(mask)

    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "above").rglob("*")]
    assert sorted(modes) == [0o600, 0o700]


async def test_the_oldest_files_make_room(tmp_path: Path) -> None:
    kept = KeptFiles(tmp_path, most_files=3, most_bytes=100)

    for number in range(5):
        await kept.write(str(number), bytes(10))
        os.utime(kept._path(str(number)), (number, number))

    assert [await kept.read(str(number)) is not None for number in range(5)] == [False, False, True, True, True]

    await kept.write("large", bytes(95))
    assert sizes(tmp_path) == [95]

    with pytest.raises(ValueError, match="at most 100 bytes"):
        await kept.write("larger", bytes(101))

    assert sizes(tmp_path) == [95]


async def test_the_newest_file_stays_and_the_others_make_room_although_the_clock_went_back(tmp_path: Path) -> None:
    kept = KeptFiles(tmp_path, most_files=2)

    for key in ("a", "b"):
        await kept.write(key, b"page")
        os.utime(kept._path(key), (2**32, 2**32))

    await kept.write("c", b"page")

    assert await kept.read("c") == b"page"
    assert sizes(tmp_path) == [4, 4]


async def test_a_file_that_could_not_be_written_leaves_the_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = KeptFiles(tmp_path)
    await kept.write("a", b"earlier")

    def full(_: int) -> Never:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(OSError, match="No space"):
        await kept.write("a", b"later")

    assert await kept.read("a") == b"earlier"
    assert sizes(tmp_path) == [7]


async def test_what_a_killed_process_left_behind_is_deleted(tmp_path: Path) -> None:
    kept = KeptFiles(tmp_path)
    left, fresh = tmp_path / "left.part", tmp_path / "fresh.part"

    for file in (left, fresh):
        file.write_bytes(b"half")

    os.utime(left, (1, 1))
    await kept.write("a", b"page")
    assert not left.exists()
    assert fresh.exists()
