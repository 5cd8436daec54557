"""Searching a Resonate server, whose protocol finds promises in the order of their ids only.

So a page of the latest starts takes a look at every promise that may be on it, and the answer says so. If the server
holds more than one request may look at, the list is in the order of ids instead: then each page begins where the one
before ended, and a walk still finds everything exactly once.
"""

from __future__ import annotations

import asyncio
import heapq
from typing import TYPE_CHECKING, Any, Final

import msgspec
from resonate.types import PromiseRecord  # noqa: TC002 - the decoder reads the annotations
from resonate_base import ConnectorError

from orchestrator.engine.remote.requests import request
from orchestrator.engine.search import (
    Found,
    Position,
    is_root,
    is_wait,
    status_of,
    wanted,
    workflow_of,
)
from orchestrator.errors import EngineUnavailable
from orchestrator.stored_names import AUDIENCE_TAG, PEOPLE_TAG

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from resonate_base.connections import Network

    from orchestrator.engine.search import RootSearch, WaitSearch

_SLOW: Final = "A Resonate server cannot sort by time, so each page took a look at all promises that may belong to it."
_BY_ID: Final = "The Resonate server holds too many promises to sort them by time, so they are listed by their ids."

#: Every root and every wait has it, and no step that a worker runs itself.
_TAGS: Final = {"resonate:scope": "global"}

#: How many promises one request reads, how many requests look for a page sorted by time, and for one sorted by id.
_READ: Final = 1000
_SORTED_READS: Final = 25
_READS: Final = 10

#: The time in a position that is in the order of ids.
_ID_ORDER: Final = -(2**53)

_OK: Final = 200


class _Head(msgspec.Struct, frozen=True):
    status: int = _OK


class _Page(msgspec.Struct, frozen=True):
    promises: list[PromiseRecord] = []
    cursor: str | None = None


class _Reply(msgspec.Struct, frozen=True):
    head: _Head = _Head()
    data: Any = None


class ServerSearch:
    """Searches by requests over this network, payloads as they are stored. `seconds` bounds every search."""

    def __init__(self, network: Network, *, seconds: float) -> None:
        self._network = network
        self._seconds = seconds

    async def roots(self, search: RootSearch) -> Found:
        """Return the workflows that were found.

        Raises:
            EngineUnavailable: the server did not answer, or refused.
        """
        statuses = wanted(search.statuses)

        def fits(record: PromiseRecord) -> bool:
            return (
                is_root(record.id, record.tags)
                and search.workflow in {None, workflow_of(record.id)}
                and (not statuses or status_of(record.state, record.value.headers) in statuses)
                and (search.since is None or record.created_at >= search.since)
                and (search.until is None or record.created_at <= search.until)
            )

        state = "pending" if search.statuses == {"running"} else None

        return await self._found(state, fits, search.before, search.limit, latest=True)

    async def waits(self, search: WaitSearch) -> Found:
        """Return the open waits that were found. Raises what `roots` raises."""

        def fits(record: PromiseRecord) -> bool:
            audience, people = record.tags.get(AUDIENCE_TAG), record.tags.get(PEOPLE_TAG)

            return (
                is_wait(record.id, record.tags)
                and search.workflow in {None, workflow_of(record.id)}
                and (audience is None or search.audience in {None, audience})
                and (not search.people or audience is None or not search.people.isdisjoint((people or "").split()))
            )

        return await self._found("pending", fits, search.after, search.limit, latest=False)

    async def _found(
        self,
        state: str | None,
        fits: Callable[[PromiseRecord], bool],
        place: Position | None,
        limit: int,
        *,
        latest: bool,
    ) -> Found:
        try:
            async with asyncio.timeout(self._seconds):
                if place is None or place.at != _ID_ORDER:
                    found = await self._by_time(state, fits, place, limit, latest=latest)

                    if found is not None:
                        return found

                    if place is not None:
                        raise EngineUnavailable("the server holds too many promises by now: begin again")

                return await self._by_id(state, fits, "" if place is None else place.id, limit)

        except msgspec.MsgspecError as error:
            raise EngineUnavailable("the server answered a search with something else") from error
        except (ConnectorError, TimeoutError) as error:
            raise EngineUnavailable("the server did not answer a search in time") from error

    async def _by_time(
        self,
        state: str | None,
        fits: Callable[[PromiseRecord], bool],
        place: Position | None,
        limit: int,
        *,
        latest: bool,
    ) -> Found | None:
        """Return the page behind a place, None if there are too many promises to look at."""
        pick = heapq.nlargest if latest else heapq.nsmallest
        best: list[tuple[Position, PromiseRecord]] = []
        # A walk that began in the order of time goes on for somewhat longer.
        reads = _SORTED_READS if place is None else 2 * _SORTED_READS

        async for page in self._pages(state, None):
            reads -= 1
            own = [(Position(record.created_at, record.id), record) for record in page.promises if fits(record)]
            behind = [one for one in own if place is None or (one[0] < place if latest else one[0] > place)]
            best = pick(limit + 1, best + behind, key=lambda one: one[0])

            if not reads and page.cursor is not None:
                return None

        rows = [record for _, record in best[:limit]]

        return Found(records=rows, next=best[limit - 1][0] if len(best) > limit else None, caveats=(_SLOW,))

    async def _by_id(self, state: str | None, fits: Callable[[PromiseRecord], bool], last: str, limit: int) -> Found:
        rows: list[PromiseRecord] = []
        reads = _READS

        async for page in self._pages(state, last or None):
            reads -= 1

            for record in page.promises:
                last = record.id

                if fits(record):
                    rows.append(record)

                if len(rows) == limit:
                    return Found(records=rows, next=Position(_ID_ORDER, last), caveats=(_BY_ID,))

            if not reads and page.cursor is not None:
                return Found(records=rows, next=Position(_ID_ORDER, last), caveats=(_BY_ID,))

        return Found(records=rows, next=None, caveats=(_BY_ID,))

    async def _pages(self, state: str | None, cursor: str | None) -> AsyncIterator[_Page]:
        """Yield the promises behind a cursor, as many at once as one request reads."""
        while True:
            data: dict[str, Any] = {"tags": _TAGS, "limit": _READ}
            data |= {} if state is None else {"state": state}
            data |= {} if cursor is None else {"cursor": cursor}
            page = await self._ask(data)
            yield page

            cursor = page.cursor

            if cursor is None:
                return

    async def _ask(self, data: dict[str, Any]) -> _Page:
        reply = msgspec.json.decode(await self._network.send(request("promise.search", **data)), type=_Reply)

        if reply.head.status != _OK:
            raise EngineUnavailable(f"the server refused a search with status {reply.head.status}")

        return msgspec.convert(reply.data, _Page)
