"""Group commit: what is waiting when the disk is free goes there in one transaction, and only then is it answered.

The event loop never waits for the disk; one thread does. Whoever must not answer before something is on disk holds a
future of the batch it is in. After a failed transaction everything that was waiting fails, and nothing is accepted
until the owner has gone back to what the file holds (`restart`): memory is ahead of the disk, and must not be shown.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from concurrent.futures import Future as ThreadFuture
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from resonate_base import ConnectorError

from orchestrator.engine.embedded.disk.writes import Row, Writes
from orchestrator.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from resonate.connections.local import OutgoingMessage

    from orchestrator.engine.embedded.disk.journal import Journal
    from orchestrator.engine.embedded.disk.writes import Recovered

logger = logging.getLogger(__name__)


class Batch:
    """What goes to disk together, who waits for it, and what is said once it is there."""

    __slots__ = ("archived", "messages", "settled", "waiting", "writes")

    def __init__(self) -> None:
        self.writes = Writes()
        self.messages: list[OutgoingMessage] = []
        self.settled: list[str] = []
        self.archived: list[str] = []
        self.waiting: list[asyncio.Future[None]] = []

    def done(self, error: Exception | None = None) -> None:
        """Answer everybody who waits."""
        for future in self.waiting:
            if not future.done():
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(ConnectorError(error))

        self.waiting.clear()


class GroupCommit:
    """Numbers changes and writes them in groups, in order.

    `fill` may add housekeeping to a batch just before it goes; `committed` is told of each batch that is on disk.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        fill: Callable[[Batch], None],
        committed: Callable[[Batch], None],
    ) -> None:
        self._journal = journal
        self._fill = fill
        self._committed = committed
        self._thread: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._loop = asyncio.get_running_loop()
        self._open = Batch()
        self._running: Batch | None = None
        self._scheduled = False
        self._closed = False
        self._unwritten: dict[str, Batch] = {}
        self.lost = False
        self.first = 1
        self.last = 0
        #: Lineages with rows that no snapshot covers, and the first such row; in order of that row.
        self.uncovered: dict[str, int] = {}

    async def run[T](self, step: Callable[[], T]) -> T:
        """Run a blocking step on the journal's thread, after everything handed to it before.

        Raises:
            ConnectorError: the file has been closed.
        """
        if self._closed:
            raise ConnectorError(EngineUnavailable("the engine is not open"))

        return await self._loop.run_in_executor(self._thread, step)

    def restart(self, recovered: Recovered) -> None:
        """Go on from what the file holds."""
        self.first, self.last = recovered.first, recovered.last
        self.uncovered = dict(recovered.uncovered)
        self.lost = False

    def add(self, rows: Iterable[tuple[str, bytes | None]], at: int) -> None:
        """Queue changes of lineages (None: it was dropped), made at `at`, in milliseconds."""
        for origin, images in rows:
            self.last += 1
            self._open.writes.rows.append(Row(self.last, origin, at, images))
            self._unwritten[origin] = self._open

            if images is None:
                self.uncovered.pop(origin, None)
            else:
                self.uncovered.setdefault(origin, self.last)

        self._schedule()

    def drop(self, origins: list[str], at: int) -> None:
        """Queue the deletion of lineages, at `at`, in milliseconds."""
        if origins:
            self.add([(origin, None) for origin in origins], at)
            self._open.writes.gone += origins

    def announce(self, messages: list[OutgoingMessage], settled: list[str]) -> None:
        """Say these things once all that has been added is on disk."""
        batch = self._newest()

        if batch is None:
            batch = self._open
            self._schedule()

        batch.messages += messages
        batch.settled += settled

    def written(self, origins: Iterable[str] | None = None) -> asyncio.Future[None] | None:
        """Return a future for when what has been added of these lineages (or of all) is on disk; None: it is now.

        It raises `ConnectorError` when that cannot be written.
        """
        if origins is None:
            batch = self._newest()
        else:
            batches = {self._unwritten[origin] for origin in origins if origin in self._unwritten}
            batch = self._open if self._open in batches else next(iter(batches), None)

        if batch is None:
            return None

        future = self._loop.create_future()
        batch.waiting.append(future)
        return future

    def nudge(self) -> None:
        """Give `fill` an opportunity although nothing is waiting to be written."""
        if self._running is None:
            self._schedule()

    async def close(self) -> None:
        """Write what is queued, and let go of the file. Nothing may be added afterwards."""
        while not self.lost and (everything := self.written()) is not None:
            await asyncio.wait((everything,))
            everything.exception()

        closing = self._loop.run_in_executor(self._thread, self._journal.close)
        self._closed = True
        await closing
        self._thread.shutdown(wait=False)

    def _newest(self) -> Batch | None:
        return self._open if self._open.writes.rows or self._open.messages else self._running

    def _schedule(self) -> None:
        if not self._scheduled and self._running is None:
            self._scheduled = True
            self._loop.call_soon(self._submit)

    def _submit(self) -> None:
        self._scheduled = False

        if self._running is not None or self.lost or self._closed:
            return

        batch = self._open

        try:
            self._fill(batch)
        except Exception as error:  # noqa: BLE001 - whatever it was, those who wait must hear of it
            self.lose(batch, error)
            return

        self._open = Batch()

        if not batch.writes:
            batch.done()
            self._committed(batch)
            return

        self._running = batch
        self._thread.submit(self._journal.commit, batch.writes).add_done_callback(self._hand_over)

    def _hand_over(self, outcome: ThreadFuture[None]) -> None:
        self._loop.call_soon_threadsafe(self._finish, outcome.exception())

    def _finish(self, error: BaseException | None) -> None:
        batch, self._running = self._running, None

        if batch is None:
            return

        if error is not None:
            self.lose(batch, error)
            return

        for row in batch.writes.rows:
            if self._unwritten.get(row.origin) is batch:
                del self._unwritten[row.origin]

        if batch.writes.trim is not None:
            self.first = batch.writes.trim + 1

        if self._newest() is not None:
            self._submit()

        batch.done()
        self._committed(batch)

    def lose(self, batch: Batch | None, error: BaseException) -> None:
        """Fail everything that waits: memory holds what the disk does not."""
        reason = "the disk" if isinstance(error, sqlite3.Error) else "the engine"
        unavailable = EngineUnavailable(f"{reason} failed: {' '.join(str(error).split())}")
        self.lost = True
        waiting, self._open = self._open, Batch()
        self._unwritten.clear()
        logger.error("the engine refuses requests: %s", unavailable)

        for unwritten in (batch, waiting):
            if unwritten is not None:
                unwritten.done(unavailable)
