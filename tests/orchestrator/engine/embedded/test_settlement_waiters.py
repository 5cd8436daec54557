"""Waiting ends at the settlement or after the given time, and leaves nothing behind."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from resonate_base import ConnectorError
from support.embedded import LARGE, Disk, calm, create, engine, full, in_memory, resolve, turns


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


async def test_what_was_settled_before_is_told_when_the_last_change_of_its_lineage_is_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine(path) as connection:
        for id_ in ("w", "w:1", "w:2"):
            await create(connection, id_)

        await resolve(connection, "w:1")
        await calm(connection)
        assert connection.waiters.add("w:1") is None

        disk = Disk(monkeypatch)
        disk.free.clear()
        answering = asyncio.create_task(resolve(connection, "w:2"))
        await turns()
        waiter = connection.waiters.add("w:1")
        assert waiter is not None
        assert not waiter.done()

        disk.free.set()
        await answering
        assert await asyncio.wait_for(waiter, 5)
        connection.waiters.remove("w:1", waiter)


async def test_what_cannot_be_written_is_told_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with engine(path) as connection:
        await create(connection, "w")

        async with full(connection):
            disk = Disk(monkeypatch)
            disk.free.clear()
            answering = asyncio.create_task(resolve(connection, "w", LARGE))
            await turns()
            waiter = connection.waiters.add("w")
            assert waiter is not None
            assert not waiter.done()

            disk.free.set()

            with pytest.raises(ConnectorError):
                await answering

            assert await asyncio.wait_for(waiter, 5) is False


async def test_what_could_not_be_written_does_not_count_as_settled(path: Path) -> None:
    async with engine(path) as connection:
        await create(connection, "w")

        async with full(connection):
            with pytest.raises(ConnectorError):
                await resolve(connection, "w", LARGE)

            assert in_memory(connection, "w") == "resolved"
            waiter = connection.waiters.add("w")
            assert waiter is not None
            assert await asyncio.wait_for(waiter, 5) is False
