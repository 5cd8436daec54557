"""The embedded engine's marks, as `orchestrator.engine.marks` describes them: in its file, or only in memory."""

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

#: Marks that an engine keeps, in some 60 MB of its file.
MOST: Final = 1_000_000

_BYTES: Final = 16


class FileMarks:
    """Marks in the engine's file. `seconds` bounds every look at them."""

    def __init__(self, durable: DurableState, *, most: int = MOST, seconds: float = 5.0) -> None:
        self._durable = durable
        self._most = most
        self._seconds = seconds

    async def has(self, digest: bytes) -> bool:
        """Return whether the table has the digest."""
        return await self._run(partial(Journal.has_mark, digest=digest[:_BYTES]))

    async def put(self, digest: bytes) -> None:
        """Write the digest to the table; it is on disk when this returns."""
        await self._run(partial(Journal.put_mark, digest=digest[:_BYTES], most=self._most))

    async def _run[T](self, step: Callable[[Journal], T]) -> T:
        try:
            async with asyncio.timeout(self._seconds):
                return await self._durable.run(step)

        except (sqlite3.Error, ConnectorError, TimeoutError) as error:
            raise EngineUnavailable(f"the engine's marks cannot be read or written ({type(error).__name__})") from error


class MemoryMarks:
    """Marks of an engine that keeps nothing."""

    def __init__(self, *, most: int = MOST) -> None:
        self._most = most
        self._digests: dict[bytes, None] = {}

    async def has(self, digest: bytes) -> bool:
        """Return whether the digest was put."""
        return digest[:_BYTES] in self._digests

    async def put(self, digest: bytes) -> None:
        """Remember the digest until the process ends."""
        self._digests.setdefault(digest[:_BYTES])

        if len(self._digests) > self._most:
            del self._digests[next(iter(self._digests))]
