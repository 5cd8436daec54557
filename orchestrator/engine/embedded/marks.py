"""The embedded engine's marks (see `orchestrator.engine.marks`), stored in its file or only in memory."""

from __future__ import annotations

import asyncio
import sqlite3
from functools import partial
from typing import TYPE_CHECKING, Final

from resonate_base import ConnectorError

from orchestrator.engine.embedded.disk.journal import Journal
from orchestrator.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.engine.embedded.durable_state import DurableState

#: How many marks an engine keeps; they take about 60 MB of its file.
LIMIT: Final = 1_000_000

_BYTES: Final = 16


class FileMarks:
    """Marks in the engine's file. `seconds` bounds every call."""

    def __init__(self, durable: DurableState, *, limit: int = LIMIT, seconds: float = 5.0) -> None:
        self._durable = durable
        self._limit = limit
        self._seconds = seconds

    async def has(self, digest: bytes) -> bool:
        """Return whether the table contains the digest."""
        return await self._run(partial(Journal.has_mark, digest=digest[:_BYTES]))

    async def put(self, digest: bytes) -> None:
        """Write the digest to the table. It is on disk when this returns."""
        await self._run(partial(Journal.put_mark, digest=digest[:_BYTES], limit=self._limit))

    async def _run[T](self, step: Callable[[Journal], T]) -> T:
        try:
            async with asyncio.timeout(self._seconds):
                return await self._durable.run(step)

        except (sqlite3.Error, ConnectorError, TimeoutError) as error:
            raise EngineUnavailable(f"the engine's marks cannot be read or written ({type(error).__name__})") from error


class MemoryMarks:
    """Marks of an engine without a file."""

    def __init__(self, *, limit: int = LIMIT) -> None:
        self._limit = limit
        self._digests: dict[bytes, None] = {}

    async def has(self, digest: bytes) -> bool:
        """Return whether the digest was put."""
        return digest[:_BYTES] in self._digests

    async def put(self, digest: bytes) -> None:
        """Remember the digest until the process ends."""
        self._digests.setdefault(digest[:_BYTES])

        if len(self._digests) > self._limit:
            del self._digests[next(iter(self._digests))]
