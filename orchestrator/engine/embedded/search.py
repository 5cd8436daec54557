"""Searching the embedded engine: what is in memory, merged with the finished workflows that are on disk only.

A workflow may move from memory to disk while a search is under way, and back. So memory is read before the disk and once
more after it: whatever was there all the time is found at least once, and by its id it is listed once.
"""

from __future__ import annotations

import asyncio
import sqlite3
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from resonate.types import PromiseRecord, Value
from resonate_base import ConnectorError

from orchestrator.engine.embedded.disk.journal import Journal
from orchestrator.engine.search import Found, Position
from orchestrator.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Sequence

    from resonate.connections.local import DurablePromise

    from orchestrator.engine.embedded.durable_state import DurableState
    from orchestrator.engine.search import RootSearch, WaitSearch

_decode_value = msgspec.json.Decoder(Value).decode


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
        absent = [place.id for place in page if place.id not in durable.state.promises]
        roots = await durable.run(partial(Journal.read_roots, origins=absent)) if absent else {}

        return await self._found(page, roots, more=len(places) > len(page))

    async def _waits(self, search: WaitSearch) -> Found:
        await self._durable.ready_for({})
        places = self._durable.state.catalogue.waits(search)
        page = places[: search.limit]

        return await self._found(page, {}, more=len(places) > len(page))

    async def _found(self, page: Sequence[Position], roots: dict[str, DurablePromise | None], *, more: bool) -> Found:
        """Return these promises, once what is said of them is on disk. What is gone by now is left out."""
        held = self._durable.state.promises
        records = []

        for place in page:
            if place.id in held:
                records.append(_record(held[place.id]))
            elif place.id in roots:
                root = roots[place.id]
                records.append(_damaged(place) if root is None else _record(root))

        written = self._durable.written({place.id.partition(":")[0] for place in page})

        if written is not None:
            await written

        return Found(records=records, next=page[-1] if more else None)

    async def _bounded[T](self, search: Coroutine[None, None, T]) -> T:
        try:
            async with asyncio.timeout(self._seconds):
                return await search

        except (sqlite3.Error, ConnectorError, TimeoutError) as error:
            raise EngineUnavailable(f"the engine's file cannot be searched ({type(error).__name__})") from error


def _record(promise: DurablePromise) -> PromiseRecord:
    """Return a promise in the SDK's type, payloads still as stored."""
    return PromiseRecord(
        id=promise.id,
        state=promise.state,
        param=_value(promise.param),
        value=_value(promise.value),
        tags=dict(promise.tags),
        timeout_at=promise.timeout_at,
        created_at=promise.created_at,
        settled_at=promise.settled_at,
    )


def _damaged(place: Position) -> PromiseRecord:
    """Return a record that holds nothing, in place of one that cannot be read from the file."""
    return PromiseRecord(id=place.id, state="rejected", timeout_at=place.at, created_at=place.at, tags={})
