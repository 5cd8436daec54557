"""What waits while the disk is busy is written together, and a caller that gives up does not affect the others."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from resonate_base import ConnectorError
from support.embedded import Disk, create, engine, turns
from support.journals import images, reopened, versions

from orchestrator.engine.embedded.disk.group_commit import GroupCommit
from orchestrator.engine.embedded.disk.journal import Journal


async def test_requests_that_come_while_the_disk_is_busy_are_written_in_one_transaction(path: Path, disk: Disk) -> None:
    async with engine(path) as connection:
        disk.free.clear()
        asking = [asyncio.create_task(create(connection, f"w{number}")) for number in range(200)]
        await turns()
        disk.free.set()
        await asyncio.gather(*asking)

    assert sum(disk.transactions) == 200
    assert len(disk.transactions) <= 2


async def test_a_caller_that_gives_up_does_not_cancel_the_others(path: Path, disk: Disk) -> None:
    async with engine(path) as connection:
        disk.free.clear()
        asking = [asyncio.create_task(create(connection, f"w{number}")) for number in range(3)]
        await turns()
        asking[0].cancel()
        disk.free.set()

        assert [type(answer) for answer in await asyncio.gather(*asking, return_exceptions=True)] == [
            asyncio.CancelledError,
            dict,
            dict,
        ]


async def test_after_a_failed_write_nothing_is_numbered_after_rows_that_are_not_on_disk(path: Path) -> None:
    commits = GroupCommit(Journal(path), fill=lambda: None, committed=lambda _: None)
    await commits.run(Journal.open)
    commits.add([("a", images(1))], at=1)
    await written(commits)
    commits.add([("a", images(2))], at=2)
    commits.lose(OSError("no space"))
    commits.drop(["b"], at=3)
    commits.announce([], ["b"])

    for origins in (None, ["a"], ["b"], ["unknown"]):
        with pytest.raises(ConnectorError, match="no space"):
            await written(commits, origins)

    commits.restart(await commits.run(Journal.reload))
    assert commits.written() is None

    commits.add([("a", images(3))], at=4)
    await written(commits)
    await commits.close()
    recovered = reopened(path)

    assert (recovered.first, recovered.last) == (1, 2)
    assert versions(recovered) == {"a": 3}


async def test_rows_that_no_lineage_needs_are_deleted_except_the_newest(path: Path) -> None:
    snapshots: list[str] = []

    def fill() -> None:
        for origin in snapshots:
            commits.snapshot(origin, images(9, origin))

        commits.trim()

    commits = GroupCommit(Journal(path), fill=fill, committed=lambda _: None)
    await commits.run(Journal.open)
    commits.add([("a", images(1)), ("b", images(1, "b")), ("a", images(2)), ("c", images(1, "c"))], at=1)
    await written(commits)

    assert (commits.length, commits.removable, commits.oldest_uncovered()) == (3, 0, "a")

    snapshots = ["a", "c"]
    commits.add([("b", images(2, "b"))], at=2)
    await written(commits)

    assert (commits.length, commits.removable, commits.oldest_uncovered()) == (3, 0, "b")
    assert commits.is_covered("a")
    assert not commits.is_covered("b")

    snapshots = ["b"]
    commits.add([("d", images(1, "d"))], at=3)
    await written(commits)
    snapshots = ["d"]
    commits.nudge()
    await turns()
    await commits.close()
    recovered = reopened(path)

    assert recovered.first == recovered.last == 6
    assert versions(recovered) == {"a": 9, "b": 9, "c": 9, "d": 9}


async def written(commits: GroupCommit, origins: list[str] | None = None) -> None:
    future = commits.written(origins)
    assert future is not None
    await future
