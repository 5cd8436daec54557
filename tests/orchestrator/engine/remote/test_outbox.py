"""Messages from a database: tasks and timers for those who work, the ends of promises for those who wait for them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import psycopg
import pytest
from conftest import Start
from resonate.types import PromiseRecord
from resonate_base import ConnectorError
from support.configuration import settings
from support.engines import Database
from support.plant import pause

from orchestrator.engine import Engine, connect
from orchestrator.engine.remote import outbox
from orchestrator.engine.remote.outbox import Outbox


class Fake:
    """A database with messages for one process, and with news once `told` is set."""

    def __init__(self, *messages: str) -> None:
        self.messages = list(messages)
        self.claims: list[tuple[str, Sequence[str]]] = []
        self.timers = 0
        self.listened: list[tuple[str, ...]] = []
        self.told = asyncio.Event()
        self.fails = False

    async def claim(self, address: str, *, group: Sequence[str]) -> AsyncIterator[str]:
        self.claims.append((address, group))

        while self.messages:
            yield self.messages.pop(0)

        if self.fails:
            raise ConnectorError(OSError("unreachable"))

    async def news(self, *addresses: str) -> AsyncIterator[None]:
        self.listened.append(addresses)

        if self.fails:
            raise ConnectorError(OSError("unreachable"))

        yield

        while True:
            await self.told.wait()
            self.told.clear()
            yield

    async def fire_timers(self) -> bool:
        self.timers += 1
        return True


class Registry:
    """Replies to registrations with the state of the promise, and remembers what was registered."""

    def __init__(self, state: str = "pending") -> None:
        self.state = state
        self.asked: list[str] = []

    async def __call__(self, req: str, headers: dict[str, str], /) -> str:
        data = json.loads(req)["data"]
        self.asked.append(f"{data['awaited']} {data['address']} {headers['resonate:origin']}")
        return json.dumps({"data": {"promise": {"id": data["awaited"], "state": self.state}}})


def ended(promise_id: str) -> str:
    return json.dumps({"kind": "unblock", "data": {"promise": {"id": promise_id, "state": "resolved"}}})


@contextlib.asynccontextmanager
async def started(database: Fake, registry: Registry, *, work: bool) -> AsyncIterator[Outbox]:
    one = Outbox(database, registry, group="g", pid="p", work=work)

    try:
        yield one
    finally:
        await one.stop()


async def test_a_worker_gets_the_tasks_of_its_group_and_drives_the_timers() -> None:
    task = json.dumps({"kind": "execute", "data": {"task": {"id": "a", "version": 1}}})
    database, got = Fake(task), list[str]()

    async with started(database, Registry(), work=True) as one:
        one.recv(got.append)
        await one.start()
        await pause(0.05)

    assert got == [task]
    assert database.listened == [("poll://any@g", "poll://uni@g/p")]
    assert database.claims[0] == ("poll://uni@g/p", ("poll://any@g", "poll://uni@g/p"))
    assert database.timers == 1


async def test_messages_claimed_before_the_database_was_lost_are_passed_on() -> None:
    task = json.dumps({"kind": "execute", "data": {"task": {"id": "a", "version": 1}}})
    database, got = Fake(task), list[str]()
    database.fails = True

    async with started(database, Registry(), work=True) as one:
        one.recv(got.append)
        await one.start()
        await pause(0.05)

    assert got == [task]


async def test_a_sender_listens_with_its_first_wait_and_takes_nobodys_task() -> None:
    database, registry = Fake(), Registry()

    async with started(database, registry, work=False) as one:
        assert database.claims == []
        wait = asyncio.create_task(one.wait_settled("a.b:1", 60))
        await pause(0.05)
        database.messages = [ended("other"), ended("a.b:1")]
        database.told.set()
        assert await wait

    assert registry.asked == ["a.b:1 poll://uni@g/p a.b"]
    assert database.listened == [("poll://uni@g/p",)]
    assert {group for _, group in database.claims} == {()}
    assert database.timers == 0


async def test_a_promise_that_is_settled_already_is_not_waited_for() -> None:
    async with started(Fake(), Registry("rejected_timedout"), work=False) as one:
        assert await one.wait_settled("a", 60)


async def test_one_message_ends_every_wait_for_the_promise_and_no_other() -> None:
    database = Fake()

    async with started(database, Registry(), work=False) as one:
        waits = [asyncio.create_task(one.wait_settled(name, 60)) for name in ("a", "b", "a")]
        await pause(0.05)
        database.messages = [ended("a")]
        database.told.set()
        done, waiting = await asyncio.wait(waits, timeout=0.2)
        assert (len(done), waiting) == (2, {waits[1]})
        waits[1].cancel()
        await asyncio.wait(waits)
        assert not one._ends


async def test_a_wait_without_an_end_ends_in_time() -> None:
    async with started(Fake(), Registry(), work=False) as one:
        assert not await one.wait_settled("a", 0.05)
        assert not one._ends


async def test_a_refused_registration_ends_a_wait_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "_LISTENING", 0.2)
    waited = time.monotonic()

    async def refuses(_: str, __: dict[str, str], /) -> str:
        return json.dumps({"kind": "promise.register_listener", "head": {"status": 404}, "data": "not found"})

    one = Outbox(Fake(), refuses, group="g", pid="p", work=False)
    assert not await one.wait_settled("a", 60)
    # Otherwise its caller would ask again and again without any.
    assert time.monotonic() - waited > 0.15
    await one.stop()


async def test_an_unreachable_database_ends_a_wait_soon_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, start: Start
) -> None:
    for name in ("_LISTENING", "_DEAF", "_FIRST_PAUSE"):
        monkeypatch.setattr(outbox, name, 0.01)

    log, database, got = start("info"), Fake(), list[str]()
    database.fails = True

    async with started(database, Registry(), work=True) as one:
        one.recv(got.append)
        assert not await one.wait_settled("a", 60)
        await pause(0.1)
        database.fails, database.messages = False, [ended("a")]

        while not got:
            await pause(0.01)

        assert log.getvalue().count("messages are late") == 1


# On a real database


@contextlib.asynccontextmanager
async def waited_for(tmp_path: Path, url: str, *, seconds: float) -> AsyncIterator[tuple[Engine, asyncio.Task[str]]]:
    """A long-poll of a process that only sends; its task returns the state, and how often the promise was read."""
    engine = await connect(settings(tmp_path, url), work=False)
    read, reads = engine.promises.get, 0
    tags = {"resonate:external": "true"}

    async def counted(promise_id: str) -> PromiseRecord:
        nonlocal reads
        reads += 1
        return await read(promise_id)

    async def poll() -> str:
        record = await engine.wait_settled("root", seconds=30)
        return f"{record.state} after {reads} reads"

    try:
        await engine.promises.create("root", timeout_at=int((time.time() + seconds) * 1000), param=None, tags=tags)
        engine.promises.get = counted  # type: ignore[method-assign]
        yield engine, asyncio.create_task(poll())
    finally:
        await engine.stop()


async def test_a_long_poll_hears_of_the_end_and_asks_no_more(tmp_path: Path, database: Database) -> None:
    url = database.fresh()

    async with waited_for(tmp_path, url, seconds=3600) as (engine, poll):
        await pause(1.5)
        await engine.promises.resolve("root", "done")
        assert await poll == "resolved after 2 reads"

    with psycopg.connect(url) as admin:
        assert admin.execute("SELECT count(*) FROM resonate.listeners").fetchone() == (0,)
        assert admin.execute("SELECT count(*) FROM resonate.outbox").fetchone() == (0,)


async def test_a_long_poll_hears_of_the_deadline_too(tmp_path: Path, database: Database) -> None:
    url = database.fresh()

    async with waited_for(tmp_path, url, seconds=2) as (_, poll):
        await pause(2.1)

        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute("SELECT resonate.process_timeouts()")

        assert await poll == "rejected_timedout after 2 reads"


async def test_a_long_poll_ends_after_an_outage_that_it_did_not_hear_the_end_in(
    tmp_path: Path, database: Database
) -> None:
    url = database.fresh()

    async with waited_for(tmp_path, url, seconds=3600) as (engine, poll):
        await pause(0.5)

        with psycopg.connect(url, autocommit=True) as admin:
            query = """
                SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND query LIKE 'LISTEN%'
            """
            assert admin.execute(query).fetchall() == [(True,)]

        await engine.promises.resolve("root", "done")
        assert (await poll).startswith("resolved")
