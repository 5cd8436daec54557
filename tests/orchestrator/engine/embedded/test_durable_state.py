"""Everything that the embedded engine reports is permanent, and nothing else is ever reported."""

from __future__ import annotations

import asyncio
import random
import resource
import sqlite3
from pathlib import Path

import pytest
from resonate_base import ConnectorError
from support.embedded import (
    LARGE,
    NOW,
    TARGET,
    Disk,
    Inbox,
    Time,
    ask,
    calm,
    create,
    engine,
    full,
    resolve,
    state_of,
    turns,
)

from orchestrator.engine.embedded.disk.journal import Journal
from orchestrator.engine.embedded.disk.writes import Writes
from orchestrator.engine.embedded.memory.state import IndexedState


async def test_every_reported_change_is_there_after_a_restart(path: Path) -> None:
    async with engine(path) as connection:
        await create(connection, "a", {"x": "y"})
        first = await resolve(connection, "a", {"headers": {}, "data": "aGk="})

    async with engine(path) as connection:
        again = await ask(connection, "promise.get", id="a")
        late = await resolve(connection, "a", {"data": "other"})

    assert again["promise"] == first["promise"] == late["promise"]
    assert again["promise"]["value"] == {"headers": {}, "data": "aGk="}


async def test_nothing_is_reported_or_announced_before_it_is_on_disk(path: Path, disk: Disk) -> None:
    async with engine(path) as connection:
        inbox = Inbox(connection)
        disk.free.clear()
        asking = asyncio.create_task(create(connection, "a", TARGET))
        await asyncio.sleep(0.05)

        assert not asking.done()
        assert not inbox.tasks

        disk.free.set()
        await asking
        await calm(connection)

        assert inbox.tasks == ["a"]


async def test_a_read_waits_only_for_the_changes_that_its_reply_reports(path: Path, disk: Disk) -> None:
    async with engine(path) as connection:
        await create(connection, "a", TARGET)
        await create(connection, "b", TARGET)
        disk.free.clear()
        settling = asyncio.create_task(resolve(connection, "a"))
        await turns()
        same = [asyncio.create_task(state_of(connection, "a")), asyncio.create_task(resolve(connection, "a"))]
        waiting = asyncio.create_task(connection.wait_settled("a", 30))

        assert await state_of(connection, "b") == "pending"
        assert (await ask(connection, "task.acquire", id="b", version=0, pid="p", ttl=1000))["status"] == 200

        await asyncio.sleep(0.05)

        assert not any(task.done() for task in (settling, *same, waiting))

        disk.free.set()

        assert await same[0] == "resolved"
        assert await waiting
        await asyncio.gather(settling, *same)


async def test_a_lease_waits_for_the_records_of_another_lineage_in_its_reply(path: Path, disk: Disk) -> None:
    async with engine(path) as connection:
        await create(connection, "a", TARGET | {"resonate:branch": "x"})
        await create(connection, "b", {"resonate:branch": "x"})
        disk.free.clear()
        settling = asyncio.create_task(resolve(connection, "b"))
        await turns()
        leasing = asyncio.create_task(ask(connection, "task.acquire", id="a", version=0, pid="p", ttl=1000))
        await asyncio.sleep(0.05)

        assert not leasing.done()

        disk.free.set()
        await settling

        assert (await leasing)["preload"][0]["state"] == "resolved"


async def test_a_step_that_fails_halfway_is_undone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with engine(path) as connection:
        await create(connection, "a", TARGET)

        with monkeypatch.context() as patch:
            patch.setattr(IndexedState, "resume_awaiters", lambda *_: 1 / 0)

            with pytest.raises(ConnectorError):
                await resolve(connection, "a")

        assert await state_of(connection, "a") == "pending"
        assert (await resolve(connection, "a"))["promise"]["state"] == "resolved"


async def test_its_time_never_goes_back(path: Path) -> None:
    time = Time()

    async with engine(path, time) as connection:
        time.clock.advance(seconds=1000)
        await create(connection, "a")
        time.clock.advance(seconds=-5000)
        second = await create(connection, "b")

    async with engine(path, time) as connection:
        third = await create(connection, "c")
        expired = await create(connection, "d", TARGET, timeout_at=NOW + 500_000)

    assert second["promise"]["createdAt"] == third["promise"]["createdAt"] == NOW + 1_000_000
    assert expired["promise"]["state"] == "rejected_timedout"


async def test_on_a_full_disk_every_request_fails_and_nothing_unwritten_is_shown(path: Path) -> None:
    async with engine(path) as connection:
        inbox = Inbox(connection)
        await create(connection, "a", TARGET)
        await calm(connection)
        await connection.start()

        async with full(connection):
            watching = asyncio.create_task(connection.wait_settled("a", 30))
            answers = await asyncio.gather(
                resolve(connection, "a", LARGE), create(connection, "b", TARGET), return_exceptions=True
            )

            assert [type(answer) for answer in answers] == [ConnectorError, ConnectorError]

            for _ in range(3):
                with pytest.raises(ConnectorError):
                    await state_of(connection, "a")

            assert not watching.done()

        assert await state_of(connection, "a") == "pending"
        assert await state_of(connection, "b") == "unknown"
        assert "b" not in inbox.tasks

        await resolve(connection, "a", LARGE)

        assert await watching

    async with engine(path) as connection:
        assert await state_of(connection, "a") == "resolved"


async def test_it_recovers_by_itself_when_there_is_room_again(path: Path) -> None:
    time = Time()

    async with engine(path, time) as connection:
        await create(connection, "a", TARGET, timeout_at=NOW + 5000)
        await connection.start()

        async with full(connection):
            with pytest.raises(ConnectorError):
                await resolve(connection, "a", LARGE)

        inbox = Inbox(connection)
        await time.pass_(connection, seconds=1)

        assert inbox.tasks == ["a"]

        await time.pass_(connection, seconds=5)

        assert await state_of(connection, "a") == "rejected_timedout"


async def test_a_limit_of_the_file_system_is_survived_as_well(path: Path) -> None:
    async with engine(path) as connection:
        await create(connection, "a")
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))

        try:
            with pytest.raises(ConnectorError):
                await resolve(connection, "a", LARGE)

            with pytest.raises(ConnectorError):
                await state_of(connection, "a")

        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

        assert await state_of(connection, "a") == "pending"

        await resolve(connection, "a", LARGE)

    async with engine(path) as connection:
        assert await state_of(connection, "a") == "resolved"


async def test_a_disk_that_fails_now_and_then_never_causes_a_wrong_reply(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(7)  # noqa: S311 - no secret
    commit = Journal.commit

    def unsteady(journal: Journal, writes: Writes) -> None:
        if chance.random() < 0.2:
            raise sqlite3.OperationalError("disk I/O error")

        commit(journal, writes)

    monkeypatch.setattr(Journal, "commit", unsteady)
    seen: dict[str, str] = {}

    async with engine(path) as connection:

        async def caller(number: int) -> None:
            for count in range(60):
                id_ = f"w{count % 20}"

                try:
                    await create(connection, id_)
                    seen.setdefault(id_, "pending")
                    answer = await resolve(connection, id_, {"data": f"{number}.{count}"})
                except ConnectorError:
                    continue

                if answer["status"] == 200:
                    assert seen.get(id_, "pending") in {"pending", answer["promise"]["value"]["data"]}
                    seen[id_] = answer["promise"]["value"]["data"]

        await asyncio.gather(*(caller(number) for number in range(8)))

    monkeypatch.setattr(Journal, "commit", commit)

    async with engine(path) as connection:
        for id_, data in seen.items():
            record = (await ask(connection, "promise.get", id=id_))["promise"]
            assert data in {"pending", (record["value"] or {}).get("data")}

    assert len(seen) == 20
