"""Requests that arrive together share a statement, and so a round trip to the database and a commit.

While batches are under way, the next one gathers. So nothing waits for company, and batches grow with the load.

A request locks promises of its own lineage, and a batch keeps its locks until it commits. Two batches never block each
other for long: each has at most one request for a lineage, in the order of the lineages. So they can only meet in the
request at hand, and the stored procedure repeats that one after a deadlock, as it does for a request of its own. Only
a sub-workflow's end, and a parent that suspends on it, lock a promise of another lineage as well. Batches that deadlock
over one are delayed by a second or two (`deadlock_timeout`), and lose nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from resonate_base import ORIGIN_HEADER, ConnectorError

from orchestrator.engine.remote.requests import beginning
from orchestrator.text.crashes import describe_crash

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

logger = logging.getLogger(__name__)

#: How many batches one process has under way. With 500 waits on two busy cores, one at a time settled 75 and 110 a
#: second, two settled 137 and 207, at the same CPU for each. More would be smaller, and wait for the same disk.
_LANES: Final = 2

#: How much one batch holds: a request takes about 0.3 ms, and the others wait for its end.
_REQUESTS: Final = 32
_CHARACTERS: Final = 1_000_000

#: Requests about one lineage, as the SDK writes them. Others travel alone.
_TOGETHER: Final = tuple(
    beginning(kind)
    for kind in (
        *("promise.get", "promise.create", "promise.settle", "promise.register_listener"),
        *("task.acquire", "task.fence", "task.suspend", "task.fulfill", "task.release"),
    )
)


class BatchRefused(Exception):
    """The database refused a statement, so nothing of it was done."""


class Database(Protocol):
    """What carries the batches."""

    async def ask(self, requests: Sequence[str]) -> Sequence[str]:
        """Return the replies to these requests, in their order, once all of them are permanent.

        Raises:
            BatchRefused: none of them was carried out.
            ConnectorError: it is unknown whether they were carried out.
        """

    async def close(self) -> None:
        """Close all connections."""


@dataclass(frozen=True, eq=False)
class _Waiting:
    text: str
    lineage: str
    together: bool
    reply: asyncio.Future[str]
    #: Reads of the same lineage, which go with it.
    reads: tuple[_Waiting, ...] = ()


class BatchingNetwork:
    """The SDK's network to a database. Only the holder of a lineage's turn has a request for it under way.

    A caller that gives up does not take its neighbours with it, and neither does a request that the database refuses.
    """

    def __init__(self, database: Database, *, lanes: int = _LANES) -> None:
        self._database = database
        self._free = lanes
        self._waiting: deque[_Waiting] = deque()
        #: The lineages with a request under way.
        self._busy: set[str] = set()
        self._carriers: set[asyncio.Task[None]] = set()
        self._stopped = False

    async def start(self) -> None:
        """Do nothing: the first request connects."""

    async def stop(self) -> None:
        """Close all connections. Requests fail from now on, and what becomes of those under way is unknown."""
        self._stopped = True
        carriers = tuple(self._carriers)

        for carrier in carriers:
            carrier.cancel()

        await asyncio.gather(*carriers, return_exceptions=True)
        self._fail(self._waiting, RuntimeError("the connection was closed"))
        await self._database.close()

    async def send(self, req: str, headers: dict[str, str] | None = None) -> str:
        """Return the engine's reply to this request, once it is permanent.

        Raises:
            ConnectorError: it is unknown whether the engine acted.
        """
        reply, _ = await self.send_with(req, (), headers)

        return reply

    async def send_with(
        self, req: str, reads: Sequence[str], headers: dict[str, str] | None = None
    ) -> tuple[str, list[str]]:
        """Return the reply to this request, and the replies to reads of its lineage, carried out after it.

        A read that got no reply is left out.

        Raises:
            ConnectorError: as for `send`.
        """
        if self._stopped:
            raise ConnectorError(RuntimeError("the connection was closed"))

        new, lineage = asyncio.get_running_loop().create_future, (headers or {}).get(ORIGIN_HEADER, "")
        others = tuple(_Waiting(each, lineage, together=True, reply=new()) for each in reads)
        waiting = _Waiting(req, lineage, together=req.startswith(_TOGETHER), reply=new(), reads=others)
        self._waiting.append(waiting)
        self._add_carrier()

        try:
            reply = await waiting.reply
        finally:
            # Nobody waits for the others any more.
            read = [each.reply.result() for each in others if not each.reply.cancel() and _is_good(each.reply)]

        return reply, read

    def _add_carrier(self) -> None:
        if self._free:
            self._free -= 1
            carrier = asyncio.create_task(self._carry())
            self._carriers.add(carrier)
            carrier.add_done_callback(self._carried)

    def _carried(self, carrier: asyncio.Task[None]) -> None:
        self._carriers.discard(carrier)

        if not carrier.cancelled() and (error := carrier.exception()) is not None:
            logger.error("an exchange with the database failed: %s", describe_crash(error))
            # What waits was left to this carrier.
            self._add_carrier()

    async def _carry(self) -> None:
        """Carry batch after batch until nothing waits that could go now."""
        try:
            while batch := self._next():
                lineages = {each.lineage for each in batch}
                self._busy |= lineages

                try:
                    await self._exchange(batch)
                finally:
                    self._busy -= lineages
                    # Whatever happened: nobody waits for a reply that will not come.
                    self._fail(batch, RuntimeError("the exchange with the database was broken off"))

        finally:
            self._free += 1

    def _next(self) -> list[_Waiting]:
        """Take the next batch out of the queue: the oldest request that may go, and those that may go with it."""
        batch: list[_Waiting] = []
        left: deque[_Waiting] = deque()
        taken, room = set(self._busy), _CHARACTERS

        while self._waiting and len(batch) < _REQUESTS and room > 0:
            each = self._waiting.popleft()

            if each.reply.done():
                continue

            if each.lineage in taken or (batch and not each.together):
                left.append(each)
                taken.add(each.lineage)
                continue

            batch += (each, *each.reads)
            taken.add(each.lineage)
            room -= len(each.text)

            if not each.together:
                break

        self._waiting.extendleft(reversed(left))

        return sorted(batch, key=lambda each: each.lineage)

    async def _exchange(self, batch: Sequence[_Waiting]) -> None:
        try:
            replies = await self._database.ask([each.text for each in batch])
        except BatchRefused as error:
            if len(batch) == 1:
                self._fail(batch, error)
                return

            # One of them was unacceptable, and nothing was done: each has its own try.
            for each in batch:
                await self._exchange([each])
        except ConnectorError as error:
            self._fail(batch, error)
        else:
            if len(replies) != len(batch):
                self._fail(batch, RuntimeError("the database did not give one reply for each request"))
                return

            for each, reply in zip(batch, replies, strict=True):
                if not each.reply.done():
                    each.reply.set_result(reply)

    @staticmethod
    def _fail(batch: Iterable[_Waiting], error: Exception) -> None:
        for each in batch:
            if not each.reply.done():
                # One for each, as raising an error adds to its traceback.
                each.reply.set_exception(ConnectorError(error))


def _is_good(reply: asyncio.Future[str]) -> bool:
    return not reply.cancelled() and reply.exception() is None
