"""What waits while the disk is busy goes there together, and one caller takes no other with it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from support.embedded import Disk, create, engine, turns


async def test_what_is_asked_while_the_disk_is_busy_goes_there_in_one_transaction(path: Path, disk: Disk) -> None:
    async with engine(path) as connection:
        disk.free.clear()
        asking = [asyncio.create_task(create(connection, f"w{number}")) for number in range(200)]
        await turns()
        disk.free.set()
        await asyncio.gather(*asking)

    assert sum(disk.transactions) == 200
    assert len(disk.transactions) <= 2


async def test_a_caller_that_gives_up_takes_nobody_with_it(path: Path, disk: Disk) -> None:
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
