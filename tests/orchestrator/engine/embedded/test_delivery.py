"""Announcements reach every receiver, late receivers included, and at a limited rate."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextvars import ContextVar
from pathlib import Path

import pytest
from support.embedded import NOW, TARGET, Inbox, Time, ask, calm, create, engine, resolve, state_of

from orchestrator.engine.embedded.connection import EmbeddedConnection


async def test_a_task_announced_without_a_receiver_is_announced_to_the_first_receiver(either: Path | None) -> None:
    async with engine(either) as connection:
        await connection.start()
        await create(connection, "a", TARGET)
        await calm(connection)
        inbox = Inbox(connection)
        await calm(connection)

        assert inbox.tasks == ["a"]


async def test_every_receiver_gets_every_message(either: Path | None) -> None:
    async with engine(either) as connection:
        one, other = Inbox(connection), Inbox(connection)
        await create(connection, "a", TARGET)
        await ask(connection, "promise.register_listener", awaited="a", address=connection.unicast())
        await resolve(connection, "a")
        await calm(connection)

        assert [message["kind"] for message in one.messages] == ["execute", "unblock"]
        assert one.messages == other.messages


def at_once(work: Callable[..., None], *args: object) -> Future[None]:
    """Submit work to a thread that is over before its caller goes on, as happens on a busy machine."""
    over: Future[None] = Future()
    work(*args)
    over.set_result(None)

    return over


async def test_a_receiver_gets_nothing_of_the_context_of_whoever_caused_the_message(
    either: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = ContextVar("variable", default="its own")
    seen: list[str] = []

    async with engine(either) as connection:
        connection.recv(lambda _: seen.append(variable.get()))
        await create(connection, "before", TARGET)
        await calm(connection)

        if (commits := connection._durable._commits) is not None:
            monkeypatch.setattr(commits._thread, "submit", at_once)

        variable.set("that of the sender")
        await create(connection, "a", TARGET)
        await calm(connection)

        assert seen == ["its own", "its own"]


async def test_a_timer_still_running_is_not_announced(either: Path | None) -> None:
    time = Time()

    async with engine(either, time) as connection:
        inbox = Inbox(connection)
        await connection.start()
        await create(connection, "a", TARGET | {"resonate:timer": "true"}, timeout_at=NOW + 90_000)
        await time.pass_(connection, seconds=60)

        assert not inbox.tasks

        await time.pass_(connection, seconds=30)

        assert await state_of(connection, "a") == "resolved"


async def release(connection: EmbeddedConnection, id_: str) -> None:
    await ask(connection, "task.acquire", id=id_, version=0, pid="p", ttl=60_000)
    await ask(connection, "task.release", id=id_, version=0)
    await calm(connection)


async def test_a_task_that_is_released_again_and_again_is_announced_later_each_time(either: Path | None) -> None:
    time = Time()

    async with engine(either, time) as connection:
        inbox = Inbox(connection)
        await connection.start()
        await create(connection, "poison", TARGET)
        await calm(connection)
        pauses = []

        for _ in range(12):
            await release(connection, "poison")
            waited = 0
            before = len(inbox.tasks)

            while len(inbox.tasks) == before:
                await time.pass_(connection, seconds=0.1)
                waited += 100

            pauses.append(waited)
            assert len(inbox.tasks) == before + 1

        assert pauses[1:9] == [100, 200, 400, 800, 1600, 3200, 6400, 12800]
        assert pauses[10] == pauses[11] == 29_000


async def test_a_task_released_once_or_after_progress_is_announced_at_once(either: Path | None) -> None:
    time = Time()

    async with engine(either, time) as connection:
        inbox = Inbox(connection)
        await create(connection, "a", TARGET)
        await create(connection, "a:1")
        await release(connection, "a")

        assert inbox.tasks == ["a", "a"]

        await ask(connection, "task.acquire", id="a", version=1, pid="p", ttl=60_000)
        await ask(connection, "task.suspend", id="a", version=1, actions=[{"awaited": "a:1"}])
        await resolve(connection, "a:1")
        await release(connection, "a")

        assert inbox.tasks == ["a", "a", "a", "a"]
