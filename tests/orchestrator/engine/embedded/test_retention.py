"""Finished lineages move to the disk, come back when they are needed, and are deleted in the end; no others are."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from support.embedded import (
    PLAIN,
    TARGET,
    Disk,
    Time,
    archived,
    ask,
    create,
    engine,
    finished,
    pragma,
    resolve,
    state_of,
    true_soon,
    turns,
    until,
)
from support.scenarios import entries

from orchestrator.engine.embedded import retention


async def test_a_finished_lineage_leaves_memory_and_comes_back_when_it_is_needed(path: Path) -> None:
    time = Time()

    async with engine(path, time) as connection:
        await connection.start()
        await asyncio.gather(*(finished(connection, f"w{number}") for number in range(200)))
        await time.pass_(connection, seconds=30)
        await until(connection, time, lambda: connection.state.lineages() == 0)

        assert await state_of(connection, "w7") == "resolved"
        assert (await ask(connection, "promise.get", id="w7:1"))["promise"]["value"] == {"data": "w7"}
        assert await connection.wait_settled("w8:1", 0)
        assert (await create(connection, "w9"))["status"] == 200
        assert (await resolve(connection, "w9:1", {"data": "late"}))["promise"]["value"] == {"data": "w9"}
        assert connection.state.lineages() == 3

        await time.pass_(connection, seconds=30)
        await until(connection, time, lambda: connection.state.lineages() == 0)

        assert await state_of(connection, "w7") == "resolved"

    async with engine(path, time) as connection:
        assert connection.state.lineages() == 0
        assert await state_of(connection, "w7") == "resolved"


async def test_a_finished_lineage_that_changes_again_keeps_the_change(path: Path) -> None:
    time = Time()

    async with engine(path, time) as connection:
        await connection.start()
        await finished(connection, "a")
        await time.pass_(connection, seconds=30)
        await until(connection, time, lambda: connection.state.lineages() == 0)
        await create(connection, "a:2")
        await resolve(connection, "a:2", {"data": "new"})

    async with engine(path, time) as connection:
        await connection.start()
        assert (await ask(connection, "promise.get", id="a:2"))["promise"]["value"] == {"data": "new"}
        assert (await ask(connection, "promise.get", id="a:1"))["promise"]["value"] == {"data": "a"}

        await time.pass_(connection, seconds=30)
        await until(connection, time, lambda: connection.state.lineages() == 0)

    async with engine(path, time) as connection:
        assert (await ask(connection, "promise.get", id="a:2"))["promise"]["value"] == {"data": "new"}


async def test_a_change_is_kept_although_the_journal_was_shortened_before_it_was_over_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = Time()

    async with engine(path, time) as connection:
        await connection.start()
        await finished(connection, "a")
        await time.pass_(connection, seconds=30)
        await until(connection, time, lambda: connection.state.lineages() == 0)
        monkeypatch.setattr(retention, "SHORTEST_JOURNAL", 0)
        monkeypatch.setattr(retention, "ROWS_PER_LINEAGE", 0)
        await create(connection, "a:2")
        await create(connection, "b", TARGET)
        await create(connection, "c", TARGET)
        await time.pass_(connection, seconds=30)
        await until(connection, time, lambda: connection.state.lineages() == 2)

        assert await state_of(connection, "a:2") == "pending"


@pytest.mark.parametrize("tags", [PLAIN, TARGET])
async def test_a_change_made_while_it_moves_to_the_disk_is_kept(
    path: Path, disk: Disk, tags: Mapping[str, str]
) -> None:
    time = Time()

    async with engine(path, time) as connection:
        await connection.start()
        await finished(connection, "a")
        time.clock.advance(seconds=30)
        disk.free.clear()
        time.wake()
        commits = connection._durable._commits
        assert commits is not None
        await true_soon(lambda: commits._running is not None and commits._running.archived == ["a"])
        changing = asyncio.create_task(create(connection, "a:2", tags))
        await turns()
        disk.free.set()
        await changing

        assert await state_of(connection, "a:2") == "pending"

    async with engine(path, time) as connection:
        assert await state_of(connection, "a:2") == "pending"


async def test_a_finished_lineage_is_deleted_after_its_retention(either: Path | None) -> None:
    time = Time()
    hours = {"retention": timedelta(hours=3), "transient_retention": timedelta(minutes=1)}

    async with engine(either, time, **hours) as connection:
        await connection.start()
        await finished(connection, "long")
        await finished(connection, "short", {"countersign:transient": "true"})
        await create(connection, "open", TARGET)
        await time.pass_(connection, seconds=50)

        assert await state_of(connection, "short") == "resolved"

        await time.pass_(connection, seconds=60)
        await time.pass_(connection, seconds=60)

        assert await state_of(connection, "short") == "unknown"
        assert await state_of(connection, "long") == "resolved"

        await time.pass_(connection, seconds=4 * 3600)
        await time.pass_(connection, seconds=60)
        await time.pass_(connection, seconds=60)

        assert await state_of(connection, "long") == "unknown"
        assert await state_of(connection, "open") == "pending"
        assert (await create(connection, "long"))["status"] == 201

    if either is not None:
        async with engine(either, time, **hours) as connection:
            assert await state_of(connection, "long") == "pending"
            assert await state_of(connection, "long:1") == "unknown"
            assert await state_of(connection, "short") == "unknown"


async def test_the_journal_stays_short_under_load_and_nothing_is_lost(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "SHORTEST_JOURNAL", 100)
    monkeypatch.setattr(retention, "LINGER", 0)
    monkeypatch.setattr(retention, "ROWS_PER_LINEAGE", 2)
    chance = random.Random(3)  # noqa: S311 - no secret
    expected: dict[str, str] = {}

    async with engine(path, retention=timedelta(days=1)) as connection:
        await connection.start()

        async def caller(number: int) -> None:
            for count in range(60):
                id_ = f"w{number}.{count}"
                await create(connection, id_, TARGET)

                if chance.random() < 0.8:
                    await finished(connection, id_)

                expected[id_] = "pending"
                other = chance.choice(list(expected))
                expected[other] = await state_of(connection, other)

        await asyncio.gather(*(caller(number) for number in range(16)))
        await asyncio.gather(*(create(connection, f"x{number}") for number in range(300)))
        assert connection._durable._commits is not None
        rows = connection._durable._commits.length

        assert rows < 3 * (100 + 2 * connection.state.lineages())

        for id_ in expected:
            expected[id_] = await state_of(connection, id_)

    async with engine(path) as connection:
        assert {id_: await state_of(connection, id_) for id_ in expected} == expected


async def test_memory_and_file_do_not_grow_with_deleted_lineages(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "SHORTEST_JOURNAL", 500)
    time = Time()
    sizes = []

    async with engine(path, time, retention=timedelta(seconds=20)) as connection:
        await connection.start()

        for round_ in range(8):
            await asyncio.gather(*(finished(connection, f"w{round_}.{number}") for number in range(250)))
            await time.pass_(connection, seconds=30)
            await until(connection, time, lambda: connection.state.lineages() == 0)
            await time.pass_(connection, seconds=60)
            await until(connection, time, lambda: not archived(connection))
            sizes.append(await pragma(connection, "page_count"))
            state = connection.state

            assert not state.promises
            assert not state.tasks
            assert not state._branches
            assert not state._awaiting
            assert not entries(state._promise_deadlines)
            assert not entries(state._task_deadlines)

    assert sizes[-1] <= 1.2 * sizes[2]
