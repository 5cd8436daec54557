"""Waiting ends at the settlement or after the given time, and leaves nothing behind."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from support.embedded import calm, create, engine, resolve


async def test_waiting_ends_with_the_settlement(either: Path | None) -> None:
    async with engine(either) as connection:
        await create(connection, "a")
        waiting = [asyncio.create_task(connection.wait_settled("a", 30)) for _ in range(3)]
        await calm(connection)

        assert not any(task.done() for task in waiting)

        await resolve(connection, "a")

        assert await asyncio.gather(*waiting) == [True, True, True]
        assert await connection.wait_settled("a", 0)
        assert not connection.waiters._waiting


async def test_waiting_ends_with_the_time_and_leaves_nothing_behind(either: Path | None) -> None:
    async with engine(either) as connection:
        await create(connection, "a")

        assert not await connection.wait_settled("a", 0)
        assert not await connection.wait_settled("unknown", 0)

        waiting = asyncio.create_task(connection.wait_settled("a", 30))
        await calm(connection)
        waiting.cancel()

        with pytest.raises(asyncio.CancelledError):
            await waiting

        assert not connection.waiters._waiting
