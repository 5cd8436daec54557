"""Marks: what has happened once and must not happen again, remembered longer than the promises it made.

An engine drops what is over after a while, and with it the knowledge that it ever was. A mark is a digest that stays.
It says nothing but "seen", and there is room for a limited number: the oldest make room for new ones.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from resonate_base import ConnectorError

from orchestrator import stored_names
from orchestrator.errors import EngineUnavailable, UnknownPromise

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.engine.embedded.durable_state import DurableState
    from orchestrator.engine.promises import Promises


MOST: Final = 1_000_000
"""Marks that an embedded engine keeps, in some 60 MB of its file."""

KEPT: Final = timedelta(days=366)
"""How long a remote engine keeps a mark."""

MARKS: Final = "CREATE TABLE IF NOT EXISTS marks(n INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE)"

_BYTES: Final = 16


class Marks(Protocol):
    """Digests that were seen. Both methods raise EngineUnavailable; asking again is safe."""

    async def has(self, digest: bytes) -> bool:
        """Return whether this digest was put, so far as there was room to remember it."""

    async def put(self, digest: bytes) -> None:
        """Remember this digest, durably; putting it again changes nothing."""


class PromiseMarks:
    """Marks as promises that nobody settles, one each, for an engine that others share."""

    def __init__(self, promises: Promises, *, clock: Callable[[], float] = time.time) -> None:
        self._promises = promises
        self._clock = clock

    async def has(self, digest: bytes) -> bool:
        """Return whether the promise is there and one of ours."""
        try:
            record = await self._promises.get(_id_of(digest))
        except UnknownPromise:
            return False

        return bool(record.param.data == _param_of(digest))

    async def put(self, digest: bytes) -> None:
        """Create the promise."""
        await self._promises.create(
            _id_of(digest),
            timeout_at=int((self._clock() + KEPT.total_seconds()) * 1000),
            param=_param_of(digest),
            tags={"countersign:mark": "true"},
        )


class EmbeddedMarks:
    """Marks in a table of the embedded engine's file; in memory, where that engine has none."""

    def __init__(self, durable: DurableState, *, most: int = MOST, seconds: float = 5.0) -> None:
        self._durable = durable
        self._most = most
        self._seconds = seconds
        self._in_memory: dict[bytes, None] = {}

    async def has(self, digest: bytes) -> bool:
        """Look it up in the table."""
        journal = self._durable.journal

        if journal is None:
            return digest[:_BYTES] in self._in_memory

        return await self._run(partial(journal.marks, partial(_marked, digest[:_BYTES])))

    async def put(self, digest: bytes) -> None:
        """Write it to the table; it is on disk when this returns."""
        journal = self._durable.journal

        if journal is not None:
            await self._run(partial(journal.marks, partial(_mark, digest[:_BYTES], self._most)))
            return

        self._in_memory.setdefault(digest[:_BYTES])

        if len(self._in_memory) > self._most:
            del self._in_memory[next(iter(self._in_memory))]

    async def _run[T](self, step: Callable[[], T]) -> T:
        if self._durable.commits is None:
            raise EngineUnavailable("the engine is not open")

        try:
            async with asyncio.timeout(self._seconds):
                return await self._durable.commits.run(step)

        except (sqlite3.Error, ConnectorError, TimeoutError) as error:
            raise EngineUnavailable(f"the engine's marks cannot be had ({type(error).__name__})") from error


def _marked(digest: bytes, db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM marks WHERE digest = ?", (digest,)).fetchone() is not None


def _mark(digest: bytes, most: int, db: sqlite3.Connection) -> None:
    db.execute("INSERT OR IGNORE INTO marks(digest) VALUES (?)", (digest,))
    db.execute("DELETE FROM marks WHERE n <= (SELECT max(n) FROM marks) - ?", (most,))


def _param_of(digest: bytes) -> dict[str, object]:
    return {"countersign": stored_names.FORMAT, "mark": digest[:_BYTES].hex()}


def _id_of(digest: bytes) -> str:
    return f"countersign~mark.{digest[:_BYTES].hex()}"
