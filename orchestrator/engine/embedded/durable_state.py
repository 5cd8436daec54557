"""The state in memory and the journal on disk, kept consistent.

A step changes memory at once; its messages wait until the change is on disk. When the disk or a step fails, memory is
ahead of what is certain. Then nothing is read from it any more, and as soon as the file can be written again, memory is
replaced by what the file holds. Finished lineages move to the disk and are loaded again when a request needs them.

This module knows neither clients nor receivers: requests are flat dicts, and `publish` gets what may be reported.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from resonate_base import ConnectorError

from orchestrator.engine.embedded.disk.group_commit import GroupCommit
from orchestrator.engine.embedded.disk.images import ImageError
from orchestrator.engine.embedded.disk.journal import Journal
from orchestrator.engine.embedded.memory.state import IndexedState
from orchestrator.engine.embedded.recovery import (
    SharedAttempt,
    open_and_rebuild,
    reload_and_rebuild,
    settle_leases,
    untaken,
)
from orchestrator.engine.embedded.requests import first_of
from orchestrator.engine.embedded.retention import Housekeeping, Sweeper, drop_expired
from orchestrator.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from resonate.connections.local import OutgoingMessage
    from resonate.timing import Clock

    from orchestrator.engine.embedded.disk.batch import Batch
    from orchestrator.engine.embedded.disk.writes import Recovered
    from orchestrator.engine.embedded.retention import Retention

logger = logging.getLogger(__name__)

#: How many deadlines one step handles.
DEADLINES: Final = 256


class DurableState:
    """The engine's state. Without a path there is no journal, and nothing waits for the disk.

    `publish` gets messages and the ids of settled promises once they are on disk. `restored` gets the ids of tasks that
    no worker has taken, after the state was loaded from the file. `leases` are the tasks that run in this process, with
    the version of their lease: these do not lapse.
    """

    def __init__(
        self,
        path: Path | Journal | None,
        *,
        clock: Clock,
        retention: Retention,
        publish: Callable[[list[OutgoingMessage], list[str]], None],
        restored: Callable[[list[str]], None],
    ) -> None:
        self._path = path
        self.state = IndexedState()
        self.leases: Final[dict[str, int]] = {}
        self._clock = clock
        self._retention = retention
        self._publish = publish
        self._restored = restored
        self._commits: GroupCommit | None = None
        self._housekeeping: Housekeeping | None = None
        self._sweeper: Sweeper | None = None
        self._at = 0
        self._opened = self._closed = False
        self._opening = asyncio.Lock()
        self._returning = asyncio.Lock()
        self._recovery = SharedAttempt()

    async def open(self) -> None:
        """Lock the file and load what it holds. A second call does nothing.

        Raises:
            EngineInUse, JournalUnusable: the file cannot be opened; it is left as it was.
        """
        async with self._opening:
            if self._opened:
                return

            if self._path is not None:
                journal = self._path if isinstance(self._path, Journal) else Journal(self._path)
                commits = GroupCommit(journal, fill=self._fill, committed=self._committed)

                try:
                    recovered, state = await commits.run(partial(open_and_rebuild, clock=self._clock))
                except BaseException:
                    await commits.close()
                    raise

                self._commits = commits
                self._take(commits, recovered, state)

            self._opened = True

    async def close(self) -> None:
        """Write what is queued and close the file. Every later request fails."""
        self._closed = True

        if self._commits is not None:
            await self._commits.close()

    @property
    def has_file(self) -> bool:
        """Whether there is a journal, where finished lineages may be that are not in memory."""
        return self._commits is not None

    def time(self) -> int:
        """Return the time for the next step, in milliseconds. It never goes back."""
        self._at = max(self._at, self._clock())
        return self._at

    # Steps

    async def ready_for(self, request: Any) -> None:
        """Return once memory can be relied on and holds the lineages that the request is about.

        Raises:
            ConnectorError: the engine is closed, or the file cannot be read or written.
        """
        while True:
            if self._closed or not self._opened:
                raise ConnectorError(EngineUnavailable("the engine is not open"))

            if self._commits is None or self._housekeeping is None:
                return

            if self._commits.lost:
                await self._recovery.make(partial(self._reload, self._commits))
                continue

            archived = self._housekeeping.archived
            missing = first_of(archived, request) if archived else None

            if missing is None:
                return

            await self._bring_back(self._commits, missing)

    def is_written(self, origin: str) -> bool:
        """Return whether memory can be relied on, and holds of this lineage only what is on disk."""
        commits = self._commits

        return self._opened and not self._closed and not (commits and (commits.lost or commits.is_unwritten(origin)))

    def record(self) -> bool:
        """Queue the changes of the last step, then its messages. Return whether it changed anything."""
        outgoing = self.state.take_outgoing()
        changes = self.state.take_changes()
        settled = changes.settled if changes is not None else []

        if self._commits is None:
            self._publish(outgoing, settled)
        else:
            if changes is not None:
                self._commits.add(changes.rows, self._at)

            if outgoing or settled:
                self._commits.announce(outgoing, settled)

        return changes is not None

    def written(self, origins: Iterable[str] | None = None) -> asyncio.Future[None] | None:
        """Return a future that completes when all changes of these lineages (None: of all lineages) are on disk.

        Return None if they are on disk already. The future raises `ConnectorError` if they cannot be written, or could
        not.
        """
        return self._commits.written(origins) if self._commits is not None else None

    def tick(self) -> bool:
        """Handle a bounded number of due deadlines. Return whether more are due already."""
        if self._commits is not None and self._commits.lost:
            return False

        now = self.time()

        try:
            self.state.tick(now, limit=DEADLINES, leases=self.leases)
            self.record()
        except Exception as error:  # noqa: BLE001 - after any error memory may be half changed
            self.step_failed(error)
            return False

        if self._commits is None:
            drop_expired(self.state, self._retention, now)
        elif self.has_housekeeping():
            self._commits.nudge()

        due = self.state.next_due()
        return due is not None and due <= now

    def step_failed(self, error: Exception) -> None:
        """Discard what memory holds, because a step has failed halfway."""
        logger.error("the engine could not finish a step; going back to what is on disk", exc_info=error)
        self.state.take_outgoing()

        if self._commits is not None:
            self._commits.lose(error)

    # Upkeep

    def has_housekeeping(self) -> bool:
        """Return whether there is housekeeping to do."""
        return self._housekeeping is not None and self._housekeeping.pending(self._at)

    async def upkeep(self) -> None:
        """Go back to what the file holds if that is necessary and possible; otherwise delete expired lineages."""
        if self._commits is None:
            return

        if self._commits.lost:
            with contextlib.suppress(ConnectorError):
                await self._recovery.make(partial(self._reload, self._commits))

            return

        if self._sweeper is not None:
            with contextlib.suppress(sqlite3.Error):
                await self._sweeper.sweep(self.time())

    async def run[T](self, step: Callable[[Journal], T]) -> T:
        """Run a blocking step on the journal, on its thread.

        Raises:
            ConnectorError: the file is not open, or there is none.
        """
        if self._commits is None:
            raise ConnectorError(EngineUnavailable("the engine is not open"))

        return await self._commits.run(step)

    def _delete(self, origins: list[str], now: int) -> None:
        if self._housekeeping is not None:
            self._housekeeping.delete(origins, now)

    def _fill(self) -> None:
        if self._housekeeping is not None:
            self._housekeeping.fill(self._at)

    def _committed(self, batch: Batch) -> None:
        if self._commits is not None and self._housekeeping is not None and not self._commits.lost:
            self._housekeeping.written(batch.archived)

        self._publish(batch.messages, batch.settled)

    # From the disk

    async def _bring_back(self, commits: GroupCommit, origin: str) -> None:
        async with self._returning:
            if self._housekeeping is None or origin not in self._housekeeping.archived:
                return

            try:
                image = await commits.run(partial(Journal.read, origin=origin))
            except (sqlite3.Error, ImageError) as error:
                raise ConnectorError(EngineUnavailable(f"{origin} cannot be read back: {error}")) from error

            self._housekeeping.bring_back(origin, image, self.time())

    async def _reload(self, commits: GroupCommit) -> None:
        """Go back to what is on disk, if the file can be written again.

        Raises:
            ConnectorError: it cannot be written or read yet.
        """
        try:
            recovered, state = await commits.run(partial(reload_and_rebuild, now=self._at))
        except (sqlite3.Error, ImageError) as error:
            raise ConnectorError(EngineUnavailable(f"the journal cannot be used: {error}")) from error

        self._take(commits, recovered, state)
        logger.warning("the engine's journal can be written again")

    def _take(self, commits: GroupCommit, recovered: Recovered, state: IndexedState) -> None:
        """Continue from what is on disk. Tasks that still run here keep their lease; all others are given back."""
        before, self.state = self.state, state
        self._at = max(self._at, recovered.at)
        now = self.time()
        commits.restart(recovered)
        self._sweeper = Sweeper(commits, retention=self._retention, delete=self._delete, since=now)
        self._housekeeping = Housekeeping(state, commits, archived=recovered.archived, retention=self._retention)
        settle_leases(state, before, self.leases, now)
        self._restored(untaken(state))
        self.record()
