"""Deadlines fire on time without any request, and do not block the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
from support.embedded import NOW, TARGET, Inbox, Time, calm, create, engine, in_memory
from support.scenarios import EXTERNAL


@pytest.mark.parametrize("tags", [TARGET, EXTERNAL])
async def test_a_deadline_fires_without_any_request(either: Path | None, tags: Mapping[str, str]) -> None:
    time = Time()

    async with engine(either, time) as connection:
        await connection.start()
        await calm(connection)
        await create(connection, "a", tags, timeout_at=NOW + 3_600_000)
        watching = asyncio.create_task(connection.wait_settled("a", 30))
        await time.pass_(connection, seconds=3599)

        assert in_memory(connection, "a") == "pending"

        await time.pass_(connection, seconds=1)

        assert in_memory(connection, "a") == "rejected_timedout"
        assert await watching


async def test_it_sleeps_until_the_next_deadline_even_if_that_is_set_during_the_sleep(either: Path | None) -> None:
    time = Time()

    async with engine(either, time, tick_interval=60) as connection:
        await connection.start()
        await calm(connection)

        assert time.delays[-1] == 60

        await create(connection, "a", TARGET, timeout_at=NOW + 7000)
        await calm(connection)

        assert time.delays[-1] == 7

        await create(connection, "b", TARGET, timeout_at=NOW + 1)
        await calm(connection)

        assert time.delays[-1] == 0.005


@pytest.mark.parametrize("tags", [TARGET, EXTERNAL])
async def test_a_deadline_that_passed_while_it_was_stopped_fires_after_the_restart(
    path: Path, tags: Mapping[str, str]
) -> None:
    time = Time()

    async with engine(path, time) as connection:
        await create(connection, "a", tags, timeout_at=NOW + 5000)

    time.clock.advance(seconds=10)

    async with engine(path, time) as connection:
        await connection.start()
        await calm(connection)

        assert in_memory(connection, "a") == "rejected_timedout"


async def test_ten_thousand_deadlines_at_once_leave_the_loop_to_others(either: Path | None) -> None:
    time = Time()

    async with engine(either, time) as connection:
        due = NOW + 50_000
        await asyncio.gather(*(create(connection, f"w{n}", TARGET, timeout_at=due) for n in range(3000)))
        await connection.start()
        await calm(connection)
        time.clock.advance(seconds=60)
        slices = 0
        time.wake()

        while any(promise.state == "pending" for promise in connection.state.promises.values()):
            await asyncio.sleep(0)
            slices += 1

        assert slices >= 3000 // 256


async def test_a_delayed_task_is_announced_at_its_time(either: Path | None) -> None:
    time = Time()

    async with engine(either, time) as connection:
        inbox = Inbox(connection)
        await connection.start()
        await create(connection, "a", TARGET | {"resonate:delay": str(NOW + 90_000)})
        await time.pass_(connection, seconds=89)

        assert not inbox.tasks

        await time.pass_(connection, seconds=1)

        assert inbox.tasks == ["a"]


async def test_a_delayed_task_is_announced_at_its_time_after_a_restart_too(path: Path) -> None:
    time = Time()

    async with engine(path, time) as connection:
        await create(connection, "a", TARGET | {"resonate:delay": str(NOW + 90_000)})

    async with engine(path, time) as connection:
        inbox = Inbox(connection)
        await connection.start()
        await time.pass_(connection, seconds=89)

        assert not inbox.tasks

        await time.pass_(connection, seconds=1)

        assert inbox.tasks == ["a"]
