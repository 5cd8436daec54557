"""Group commit: what waits while the disk is busy is written in the next transaction, and reported only after that.

The event loop never waits for the disk; one thread does. A caller that must not reply before something is on disk holds
a future of its batch. After a failed transaction everything that was waiting fails, and nothing is accepted until the
owner has gone back to what the file holds (`restart`): memory is ahead of the disk then, and must not be shown.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from typing import TYPE_CHECKING, Final

from resonate_base import ConnectorError

from orchestrator.engine.embedded.disk.batch import Batch
from orchestrator.engine.embedded.disk.writes import Row, Snapshot
from orchestrator.errors import EngineUnavailable
from orchestrator.text.display import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future as ThreadFuture

    from resonate.connections.local import OutgoingMessage

    from orchestrator.engine.embedded.disk.journal import Journal
    from orchestrator.engine.embedded.disk.root_rows import RootRow
    from orchestrator.engine.embedded.disk.writes import Recovered

logger = logging.getLogger(__name__)

LONGEST_REASON: Final = 500


class GroupCommit:
    """Numbers changes and writes them in groups, in order. Knows which rows of the journal are still needed.

    `fill` is called just before a batch is written, to queue housekeeping. `committed` gets each batch once it is on
    disk.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        fill: Callable[[], None],
        committed: Callable[[Batch], None],
    ) -> None:
        self._journal = journal
        self._fill = fill
        self._committed = committed
        self._thread: Final = journal.thread()
        self._loop = asyncio.get_running_loop()
        self._open = Batch()
        self._running: Batch | None = None
        self._scheduled = False
        self._closed = False
        #: Why something could not be written, so that memory is ahead of the disk; None while all could.
        self.lost: EngineUnavailable | None = None
        self._unwritten: dict[str, Batch] = {}
        self._first = 1
        self._last = 0
        #: Lineages with rows that no snapshot covers, each with its first such row, in order of that row.
        self._uncovered: dict[str, int] = {}

    @property
    def length(self) -> int:
        """How many rows the journal has besides the newest, which must stay: it holds the last number and time."""
        return self._last - self._first

    @property
    def removable(self) -> int:
        """How many of the oldest rows are not needed by any lineage."""
        return next(iter(self._uncovered.values()), self._last) - self._first

    async def run[T](self, step: Callable[[Journal], T]) -> T:
        """Run a blocking step on the journal, on its thread, after everything submitted earlier.

        Raises:
            ConnectorError: the file has been closed.
        """
        if self._closed:
            raise ConnectorError(EngineUnavailable("the engine is not open"))

        return await self._loop.run_in_executor(self._thread, step, self._journal)

    def restart(self, recovered: Recovered) -> None:
        """Continue from what the file holds, and accept changes again."""
        self._first, self._last = recovered.first, recovered.last
        self._uncovered = dict(recovered.uncovered)
        self.lost = None

    # What to write. While `lost`, nothing is queued: it would be numbered after rows that are not on disk.

    def add(self, rows: Iterable[tuple[str, bytes | None]], at: int) -> None:
        """Queue changes of lineages, made at `at` (milliseconds). None instead of images means it was dropped."""
        if self.lost:
            return

        for origin, images in rows:
            self._last += 1
            self._open.writes.rows.append(Row(self._last, origin, at, images))
            self._unwritten[origin] = self._open

            if images is None:
                self._uncovered.pop(origin, None)
            else:
                self._uncovered.setdefault(origin, self._last)

        self._schedule()

    def drop(self, origins: list[str], at: int) -> None:
        """Queue the deletion of lineages, at `at` (milliseconds)."""
        if origins and not self.lost:
            self.add([(origin, None) for origin in origins], at)
            self._open.writes.gone += origins

    def snapshot(
        self,
        origin: str,
        state: bytes,
        *,
        transient: bool = False,
        finished_at: int | None = None,
        root: RootRow | None = None,
    ) -> None:
        """Queue a whole lineage as it is now, which replaces all its rows so far; see `Snapshot`. For `fill` only."""
        self._open.writes.snapshots.append(Snapshot(origin, self._last, transient, finished_at, state, root))
        self._uncovered.pop(origin, None)

    def archive(self, origin: str) -> None:
        """Pass this lineage to `committed` once everything queued is on disk. For `fill` only."""
        self._open.archived.append(origin)

    def trim(self) -> None:
        """Queue the deletion of the oldest rows, which no lineage needs. For `fill` only."""
        if self.removable:
            self._open.writes.trim = self._first + self.removable - 1

    def is_covered(self, origin: str) -> bool:
        """Return whether a snapshot, on disk or queued, holds all of this lineage."""
        return origin not in self._uncovered

    def oldest_uncovered(self) -> str | None:
        """Return the lineage that needs the oldest row, None when no row is needed."""
        return next(iter(self._uncovered), None)

    # Waiting for it

    def announce(self, messages: list[OutgoingMessage], settled: list[str]) -> None:
        """Publish these once everything added so far is on disk; never, if that cannot be written."""
        if self.lost:
            return

        batch = self._newest()

        if batch is None:
            batch = self._open
            self._schedule()

        batch.messages += messages
        batch.settled += settled

    def written(self, origins: Iterable[str] | None = None) -> asyncio.Future[None] | None:
        """Return a future that completes when all changes of these lineages (None: of all lineages) are on disk.

        Return None if they are on disk already. The future raises `ConnectorError` when they cannot be written: while
        `lost`, at once.
        """
        if self.lost is not None:
            failed: asyncio.Future[None] = self._loop.create_future()
            failed.set_exception(ConnectorError(self.lost))
            return failed

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

    def is_unwritten(self, origin: str) -> bool:
        """Return whether a change of this lineage is not on disk yet."""
        return origin in self._unwritten

    def nudge(self) -> None:
        """Call `fill` soon, even if nothing is waiting to be written."""
        if self._running is None:
            self._schedule()

    def lose(self, error: BaseException) -> None:
        """Fail every change that is not being written yet, because memory is ahead of the disk."""
        self._fail([], error)

    async def close(self) -> None:
        """Write what is queued, and close the file. Nothing may be added afterwards."""
        while not self.lost and (everything := self.written()) is not None:
            await asyncio.wait((everything,))
            everything.exception()

        closing = self._loop.run_in_executor(self._thread, self._journal.close)
        self._closed = True
        await closing
        self._thread.shutdown(wait=False)

    # One batch after another

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

        try:
            self._fill()
        except Exception as error:  # noqa: BLE001 - whatever it was, the waiting futures must fail
            self._fail([], error)
            return

        batch, self._open = self._open, Batch()

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
            self._fail([batch], error)
            return

        for row in batch.writes.rows:
            if self._unwritten.get(row.origin) is batch:
                del self._unwritten[row.origin]

        if batch.writes.trim is not None:
            self._first = batch.writes.trim + 1

        if self._newest() is not None:
            self._submit()

        batch.done()
        self._committed(batch)

    def _fail(self, batches: list[Batch], error: BaseException) -> None:
        reason = "the disk" if isinstance(error, sqlite3.Error) else "the engine"
        self.lost = unavailable = EngineUnavailable(f"{reason} failed: {one_line(str(error), LONGEST_REASON)}")
        waiting, self._open = self._open, Batch()
        self._unwritten.clear()
        logger.error("the engine refuses requests: %s", unavailable)

        for unwritten in (*batches, waiting):
            unwritten.done(unavailable)
