"""The embedded engine with a clock that tests move, and requests to it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from resonate.testing import FakeClock
from resonate_base import Network, Source

from orchestrator.engine.embedded.connection import EmbeddedConnection
from orchestrator.engine.embedded.disk.journal import Journal
from orchestrator.engine.embedded.disk.writes import Writes

NOW = 1_700_000_000_000
FAR = NOW + 10**12
TARGET = {"resonate:target": "local://any@default"}
PLAIN: Mapping[str, str] = {}
LARGE = {"headers": {}, "data": "x" * 300_000}


class Time:
    """A clock that stands still until a test moves it, and a sleeper that wakes up then."""

    def __init__(self) -> None:
        self.clock = FakeClock(NOW)
        self.delays: list[float] = []
        self._naps: list[asyncio.Future[None]] = []

    async def sleep(self, seconds: float) -> None:
        self.delays.append(seconds)
        nap: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._naps.append(nap)
        await nap

    def wake(self) -> None:
        for nap in self._naps:
            if not nap.done():
                nap.set_result(None)

        self._naps.clear()

    async def pass_(self, connection: EmbeddedConnection, *, seconds: float) -> None:
        """Move the clock, and return when the engine has done everything that is due by then."""
        self.clock.advance(seconds=seconds)

        for _ in range(2):
            self.wake()
            await calm(connection)
            await true_soon(lambda: any(not nap.done() for nap in self._naps))


async def calm(connection: EmbeddedConnection) -> None:
    """Return when nothing is running in this process and the journal has nothing to write."""
    commits = connection._durable._commits

    for _ in range(3):
        await turns()
        await true_soon(lambda: commits is None or not (commits._running or commits._scheduled))


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def true_soon(condition: Callable[[], bool]) -> None:
    """Return when the condition holds; the journal's thread may need a moment."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - a thread is at work, which sets no event
            await asyncio.sleep(0.001)


@asynccontextmanager
async def engine(path: Path | None, time: Time | None = None, **options: Any) -> AsyncIterator[EmbeddedConnection]:
    """An open engine; it releases its file afterwards."""
    seams: dict[str, Any] = {"clock": time.clock, "sleeper": time.sleep} if time is not None else {}
    connection = EmbeddedConnection(path, **seams, **options)
    await connection.open()

    try:
        yield connection
    finally:
        await connection.stop()


async def ask(connection: Network, kind: str, **data: Any) -> Any:
    """Send a request and return the reply's data, with its status."""
    envelope = {"kind": kind, "head": {"corrId": "c", "version": "1"}, "data": data}
    answer = msgspec.json.decode(await connection.send(msgspec.json.encode(envelope).decode(), {}))
    assert answer["kind"] == kind
    return answer["data"] | {"status": answer["head"]["status"]}


async def create(connection: Network, id_: str, tags: Mapping[str, str] = PLAIN, *, timeout_at: int = FAR) -> Any:
    return await ask(connection, "promise.create", id=id_, timeoutAt=timeout_at, param=None, tags=tags)


async def resolve(connection: Network, id_: str, value: Any = None) -> Any:
    return await ask(connection, "promise.settle", id=id_, state="resolved", value=value)


async def state_of(connection: Network, id_: str) -> str:
    answer = await ask(connection, "promise.get", id=id_)
    return str(answer["promise"]["state"]) if answer["status"] == 200 else "unknown"


def in_memory(connection: EmbeddedConnection, id_: str) -> str:
    """Return the state of a promise without a request: a request would expire what is due."""
    return connection.state.promises[id_].state


class Inbox:
    """A receiver that records which tasks were announced to it."""

    def __init__(self, connection: Source) -> None:
        self.messages: list[Any] = []
        connection.recv(lambda text: self.messages.append(msgspec.json.decode(text)))

    @property
    def tasks(self) -> list[str]:
        return [message["data"]["task"]["id"] for message in self.messages if message["kind"] == "execute"]


class Disk:
    """Holds the journal's `commit` until it is released."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free = threading.Event()
        self.free.set()
        self.transactions: list[int] = []
        commit = Journal.commit

        def held(journal: Journal, writes: Writes) -> None:
            self.free.wait(30)
            self.transactions.append(len(writes.rows))
            commit(journal, writes)

        monkeypatch.setattr(Journal, "commit", held)


@asynccontextmanager
async def full(connection: EmbeddedConnection) -> AsyncIterator[None]:
    """Forbid the file to grow, with SQLite's own limit."""
    await pragma(connection, "max_page_count = 1")  # SQLite reads this as: no larger than it is

    try:
        yield
    finally:
        await pragma(connection, "max_page_count = 1000000")


async def pragma(connection: EmbeddedConnection, text: str) -> int:
    (value,) = await connection._durable.run(lambda it: it._connection().execute(f"PRAGMA {text}").fetchone())
    return int(value)


async def finished(connection: EmbeddedConnection, id_: str, tags: Mapping[str, str] = PLAIN) -> None:
    await create(connection, id_, TARGET | dict(tags))
    await create(connection, f"{id_}:1")
    await resolve(connection, f"{id_}:1", {"data": id_})
    await resolve(connection, id_, {"data": id_})


def archived(connection: EmbeddedConnection) -> AbstractSet[str]:
    """Return the lineages that are on disk only."""
    assert connection._durable._housekeeping is not None
    return connection._durable._housekeeping.archived


async def until(connection: EmbeddedConnection, time: Time, condition: Callable[[], bool]) -> None:
    for _ in range(200):
        if condition():
            return

        await time.pass_(connection, seconds=0.1)

    pytest.fail("the condition never became true")
