"""The state in memory and the journal on disk, kept as one.

A step changes memory at once; what it has to say waits until the change is on disk. When the disk or a step fails,
memory is ahead of what can be vouched for: nothing is answered from it any more, and as soon as the file can be written
again it is replaced by what the file holds. What is over moves to the disk, and comes back when it is asked for.

It does not know who asks and who is told: requests are flat dicts, and `tell` is called with what may be said.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from resonate_base import ConnectorError

from orchestrator.engine.embedded.disk.group_commit import Batch, GroupCommit
from orchestrator.engine.embedded.disk.images import ImageError
from orchestrator.engine.embedded.disk.journal import Journal
from orchestrator.engine.embedded.memory.lineages import origin_of
from orchestrator.engine.embedded.memory.state import IndexedState
from orchestrator.engine.embedded.recovery import rebuilt, restored, settle_leases, untaken
from orchestrator.engine.embedded.requests import named
from orchestrator.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from resonate.connections.local import OutgoingMessage
    from resonate.timing import Clock

    from orchestrator.engine.embedded.disk.writes import Recovered
    from orchestrator.engine.embedded.retention import Housekeeping

logger = logging.getLogger(__name__)

#: Deadlines handled in one step.
DEADLINES: Final = 256
#: Milliseconds between two looks for archived lineages whose retention is over, and how many are deleted at a time.
SWEEP: Final = 30_000
DELETIONS: Final = 512


class DurableState:
    """The engine's state. Without a path there is no journal, and nothing waits for a disk.

    `tell` gets messages and the ids of settled promises, once that is on disk. `restored` gets the ids of tasks that
    nobody has taken, after the state was read from the file. `leases` are the tasks that run in this process, with the
    version of their lease: those do not lapse.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        clock: Clock,
        housekeeping: Housekeeping,
        tell: Callable[[list[OutgoingMessage], list[str]], None],
        restored: Callable[[list[str]], None],
    ) -> None:
        self.state = IndexedState()
        self.leases: Final[dict[str, int]] = {}
        self.housekeeping: Final = housekeeping
        self.journal: Final = Journal(path) if path is not None else None
        self.commits: GroupCommit | None = None
        self._clock = clock
        self._tell = tell
        self._restored = restored
        self._at = 0
        self._swept_at = 0
        self._opened = self._closed = False
        self._opening = asyncio.Lock()
        self._returning = asyncio.Lock()
        self._recovery: asyncio.Future[None] | None = None

    @property
    def lost(self) -> bool:
        """Whether memory is not to be trusted, so that nothing is answered."""
        return self.commits is not None and self.commits.lost

    async def open(self) -> None:
        """Take possession of the file and bring back what it holds; nothing when that has been done.

        Raises:
            EngineInUse, JournalUnusable: it cannot be had; it is left as it was.
        """
        async with self._opening:
            if self._opened:
                return

            if self.journal is not None:
                commits = GroupCommit(self.journal, fill=self._fill, committed=self._committed)

                try:
                    recovered, state = await commits.run(partial(restored, self.journal, self._clock))
                except BaseException:
                    await commits.close()
                    raise

                self.commits = commits
                self._take(recovered, state)

            self._opened = True

    async def close(self) -> None:
        """Write what is queued and let go of the file. Nothing is answered from now on."""
        self._closed = True

        if self.commits is not None:
            await self.commits.close()

    def time(self) -> int:
        """Return the time for the next step, in milliseconds: never before that of the last one."""
        self._at = max(self._at, self._clock())
        return self._at

    # Steps

    async def have(self, request: Any) -> None:
        """Return when memory holds the truth, with the lineages that the request is about, and can be acted upon.

        Raises:
            ConnectorError: it cannot be had.
        """
        while True:
            if self._closed or not self._opened:
                raise ConnectorError(EngineUnavailable("the engine is not open"))

            if self.lost:
                await self._recover()
                continue

            archived = self.housekeeping.archived
            missing = next((it for it in map(origin_of, named(request)) if it in archived), None) if archived else None

            if missing is None:
                return

            await self._bring_back(missing)

    def record(self) -> bool:
        """Queue what the last step changed, and after it what it has to say. True when it changed something."""
        outgoing = self.state.take_outgoing()
        changes = self.state.take_changes()
        settled = changes.settled if changes is not None else []

        if self.commits is None:
            self._tell(outgoing, settled)
        else:
            if changes is not None:
                self.commits.add(changes.rows, self._at)

            if outgoing or settled:
                self.commits.announce(outgoing, settled)

        return changes is not None

    def written(self, origins: Iterable[str] | None = None) -> asyncio.Future[None] | None:
        """Return a future for when all changes of these lineages (None: of all) are on disk; None when they are now."""
        return self.commits.written(origins) if self.commits is not None else None

    def tick(self) -> bool:
        """Do a slice of what is due. True when there is more at once."""
        if self.lost:
            return False

        now = self.time()

        try:
            self.state.tick(now, limit=DEADLINES, leases=self.leases)
            self.record()
        except Exception as error:  # noqa: BLE001 - whatever it was, memory may be half changed
            self.stumbled(error)
            return False

        if self.commits is None:
            self.housekeeping.drop_expired(self.state, now)
        elif self.house_to_keep():
            self.commits.nudge()

        due = self.state.next_due()
        return due is not None and due <= now

    def house_to_keep(self) -> bool:
        """Return whether there is housekeeping left to do."""
        return self.commits is not None and self.housekeeping.pending(self.state, self.commits, self._at)

    def stumbled(self, error: Exception) -> None:
        """Give up what memory holds: a step has failed halfway."""
        logger.error("the engine could not finish a step; going back to what is on disk", exc_info=error)
        self.state.take_outgoing()

        if self.commits is not None:
            self.commits.lose(None, error)

    async def upkeep(self) -> None:
        """Go back to what the file holds, if that is due and possible; else delete what has been over for long."""
        if self.commits is None or self.journal is None:
            return

        if self.lost:
            with contextlib.suppress(ConnectorError):
                await self._recover()

            return

        now = self.time()

        if now - self._swept_at < SWEEP:
            return

        with contextlib.suppress(sqlite3.Error):
            found = 0

            for transient in (False, True):
                cutoff = now - self.housekeeping.retention[transient]
                look = partial(self.journal.expired, cutoff, transient=transient, limit=DELETIONS)
                expired = await self.commits.run(look)
                self.housekeeping.drop_archived(expired, self.commits, now)
                found = max(found, len(expired))

            if found < DELETIONS:
                self._swept_at = now
                await self.commits.run(self.journal.shrink)

    # The journal

    def _fill(self, batch: Batch) -> None:
        if self.commits is not None:
            self.housekeeping.fill(batch, self.state, self.commits, self._at)

    def _committed(self, batch: Batch) -> None:
        if self.commits is not None and not self.lost:
            self.housekeeping.settle(batch, self.state, self.commits)

        self._tell(batch.messages, batch.settled)

    async def _bring_back(self, origin: str) -> None:
        async with self._returning:
            if self.commits is None or self.journal is None or origin not in self.housekeeping.archived:
                return

            try:
                image = await self.commits.run(partial(self.journal.read, origin))
            except (sqlite3.Error, ImageError) as error:
                raise ConnectorError(EngineUnavailable(f"{origin} cannot be read back: {error}")) from error

            if origin in self.housekeeping.archived:  # else deleted meanwhile
                self.housekeeping.came_back(origin)

                if image is not None:
                    now = self.time()
                    self.state.adopt(image, now, finished_at=now)

    async def _recover(self) -> None:
        """Go back to what is on disk, if that can be written again. Who wants this at the same time shares an attempt.

        Raises:
            ConnectorError: it cannot be done now.
        """
        if self._recovery is None or self._recovery.done():
            self._recovery = asyncio.ensure_future(self._reload())
            self._recovery.add_done_callback(lambda it: it.cancelled() or it.exception())  # nobody may be left to ask

        await asyncio.shield(self._recovery)

    async def _reload(self) -> None:
        if self.commits is None or self.journal is None:
            return

        try:
            recovered = await self.commits.run(self.journal.reload)
            state = await self.commits.run(partial(rebuilt, recovered, self._at))
        except (sqlite3.Error, ImageError) as error:
            raise ConnectorError(EngineUnavailable(f"the journal cannot be used: {error}")) from error

        self._take(recovered, state)
        logger.warning("the engine's journal can be written again")

    def _take(self, recovered: Recovered, state: IndexedState) -> None:
        """Go on from what is on disk. A lease is only kept for what still runs here; other tasks are given back."""
        before, self.state = self.state, state
        self._at = max(self._at, recovered.at)
        now = self._swept_at = self.time()
        self.housekeeping.restart(recovered.archived)

        if self.commits is not None:
            self.commits.restart(recovered)

        settle_leases(state, before, self.leases, now)
        self._restored(untaken(state))
        self.record()
