"""Searching the embedded engine: what is in memory, merged with the finished workflows that are on disk only.

A workflow may move from memory to disk while a search is under way, and back. So memory is read before the disk and
once more after it: whatever was there all the time is found at least once, and by its id it is listed once.
"""

from __future__ import annotations

import asyncio
import sqlite3
from functools import partial
from typing import TYPE_CHECKING

from resonate.types import PromiseRecord
from resonate_base import ConnectorError

from orchestrator.engine.embedded.disk.journal import Journal
from orchestrator.engine.embedded.state_records import as_record
from orchestrator.engine.search import Found, Position
from orchestrator.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from orchestrator.engine.embedded.durable_state import DurableState
    from orchestrator.engine.search import RootSearch, WaitSearch


class EmbeddedSearch:
    """Searches one engine in this process. `seconds` bounds every search."""

    def __init__(self, durable: DurableState, *, seconds: float) -> None:
        self._durable = durable
        self._seconds = seconds

    async def roots(self, search: RootSearch) -> Found:
        """Return the workflows that were found.

        Raises:
            EngineUnavailable: the engine is closed, or its file cannot be read.
        """
        return await self._bounded(self._roots(search))

    async def waits(self, search: WaitSearch) -> Found:
        """Return the open waits that were found. Raises what `roots` raises."""
        return await self._bounded(self._waits(search))

    async def _roots(self, search: RootSearch) -> Found:
        durable = self._durable
        await durable.ready_for({})
        held = durable.state.catalogue.roots(search)
        stored = await durable.run(partial(Journal.find_roots, search=search)) if durable.has_file else []
        await durable.ready_for({})
        held += durable.state.catalogue.roots(search)
        places = sorted({*held, *stored}, reverse=True)[: search.limit + 1]
        page = places[: search.limit]
        # Copied at once: until the disk is read, any of them may leave memory.
        records = self._in_memory(page)
        absent = [place.id for place in page if place.id not in records]

        if absent:
            roots = await durable.run(partial(Journal.read_roots, origins=absent))
            records |= {id_: None if root is None else as_record(root.to_record()) for id_, root in roots.items()}
            await durable.ready_for({})
            records |= self._in_memory(page)

        return await self._found(page, records, more=len(places) > len(page))

    async def _waits(self, search: WaitSearch) -> Found:
        await self._durable.ready_for({})
        places = self._durable.state.catalogue.waits(search)
        page = places[: search.limit]

        return await self._found(page, self._in_memory(page), more=len(places) > len(page))

    def _in_memory(self, page: Sequence[Position]) -> dict[str, PromiseRecord | None]:
        held = self._durable.state.promises

        return {place.id: as_record(held[place.id].to_record()) for place in page if place.id in held}

    async def _found(
        self, page: Sequence[Position], records: Mapping[str, PromiseRecord | None], *, more: bool
    ) -> Found:
        """Return these records, once what they say is on disk. What is gone by now is left out."""
        found = [records[place.id] or _damaged(place) for place in page if place.id in records]
        written = self._durable.written({place.id.partition(":")[0] for place in page})

        if written is not None:
            await written

        return Found(records=found, next=page[-1] if more else None)

    async def _bounded[T](self, search: Coroutine[None, None, T]) -> T:
        try:
            async with asyncio.timeout(self._seconds):
                return await search

        except (sqlite3.Error, ConnectorError, TimeoutError) as error:
            raise EngineUnavailable(f"the engine's file cannot be searched ({type(error).__name__})") from error


def _damaged(place: Position) -> PromiseRecord:
    """Return a record that holds nothing, in place of one that cannot be read from the file."""
    return PromiseRecord(id=place.id, state="rejected", timeout_at=place.at, created_at=place.at, tags={})
