"""Keeping memory and the file from growing, in slices small enough for the event loop.

There are three rules. When the journal is too long, the lineages that need its oldest rows are written whole, so that
the rows can be deleted. A finished lineage is written whole and then kept on disk only. A lineage that has been over
for its retention is deleted. The loop decides between two transactions what to do; the next transaction does it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

from orchestrator.engine.embedded.disk.journal import Journal
from orchestrator.engine.embedded.disk.root_rows import row_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchestrator.engine.embedded.disk.group_commit import GroupCommit
    from orchestrator.engine.embedded.disk.images import LineageImage
    from orchestrator.engine.embedded.memory.state import IndexedState

#: How many lineages one slice handles; that takes the loop about two milliseconds.
SLICE: Final = 64
#: For how many milliseconds a finished lineage stays in memory: the client that started it is likely to read it now.
LINGER: Final = 10_000
#: How many rows the journal may have in any case.
SHORTEST_JOURNAL: Final = 20_000
#: How many rows per lineage in memory the journal may have, if that is more.
ROWS_PER_LINEAGE: Final = 8
#: Milliseconds between two searches for archived lineages whose retention is over.
SWEEP: Final = 30_000
#: How many archived lineages one search deletes at most.
DELETIONS: Final = 512


@dataclass(frozen=True)
class Retention:
    """For how many milliseconds a lineage is kept after it is over."""

    ordinary: int
    transient: int

    def of(self, *, transient: bool) -> int:
        """Return the retention of one of the two classes of lineages."""
        return self.transient if transient else self.ordinary


def drop_expired(state: IndexedState, retention: Retention, now: int) -> list[str]:
    """Drop a slice of the lineages in memory whose retention is over at `now` (milliseconds), and return their ids."""
    dropped: list[str] = []

    for transient in (False, True):
        over = islice(state.finished_before(now - retention.of(transient=transient), transient=transient), SLICE)
        dropped += [origin for origin in list(over) if state.drop(origin)]

    return dropped


class Housekeeping:
    """Decides what moves from memory to disk and what is deleted there. Made anew each time memory is loaded.

    `archived` are the finished lineages that are on disk only; a request that needs one brings it back.
    """

    def __init__(self, state: IndexedState, commits: GroupCommit, *, archived: set[str], retention: Retention) -> None:
        self._state = state
        self._commits = commits
        self.archived: Final = archived
        self._retention = retention
        #: Lineages that were brought back into memory and have not changed, so they need not be written again.
        self._unchanged: set[str] = set()

    def bring_back(self, origin: str, image: LineageImage | None, now: int) -> None:
        """Load an archived lineage into memory again. Without an image it is only forgotten: it is not on disk."""
        if origin not in self.archived:  # deleted in the meantime
            return

        self.archived.discard(origin)
        self._unchanged.add(origin)

        if image is not None:
            self._state.adopt(image, now, finished_at=now)

    def fill(self, now: int) -> None:
        """Queue a slice of work for the transaction that is about to be written."""
        expired = drop_expired(self._state, self._retention, now)
        self._unchanged.difference_update(expired)
        self._commits.drop(expired, now)

        for transient in (False, True):
            for origin in islice(self._over(now, transient=transient), SLICE):
                self._archive(origin)

        self._shorten()

    def written(self, archived: list[str]) -> None:
        """Drop lineages that are on disk now from memory, unless they have changed since."""
        for origin in archived:
            if not self._commits.is_covered(origin) or self._state.finished_at(origin) is None:
                continue

            if self._state.drop(origin):
                self.archived.add(origin)
                self._unchanged.discard(origin)
            else:
                self._unchanged.add(origin)

    def delete(self, origins: list[str], now: int) -> None:
        """Queue the deletion of archived lineages, except those that are back in memory."""
        gone = [origin for origin in origins if origin in self.archived]
        self.archived.difference_update(gone)
        self._commits.drop(gone, now)

    def pending(self, now: int) -> bool:
        """Return whether there is work for `fill`."""
        if self._commits.length >= self._longest():
            return True

        return any(next(self._over(now, transient=transient), None) is not None for transient in (False, True))

    def _over(self, now: int, *, transient: bool) -> Iterator[str]:
        linger = min(LINGER, self._retention.of(transient=transient))
        return self._state.finished_before(now - linger, transient=transient)

    def _archive(self, origin: str) -> None:
        if origin not in self._unchanged or not self._commits.is_covered(origin):
            self._commits.snapshot(
                origin,
                self._state.snapshot(origin),
                transient=self._state.is_transient(origin),
                finished_at=self._state.finished_at(origin),
                root=row_of(self._state.promises.get(origin)),
            )
            self._unchanged.discard(origin)

        self._commits.archive(origin)

    def _shorten(self) -> None:
        excess = self._commits.length - self._longest()

        if excess < 0:
            return

        for _ in range(SLICE):
            origin = self._commits.oldest_uncovered()

            if origin is None or self._commits.removable > excess or self._commits.removable == self._commits.length:
                break

            self._commits.snapshot(origin, self._state.snapshot(origin))
            self._unchanged.discard(origin)

        self._commits.trim()

    def _longest(self) -> int:
        return max(SHORTEST_JOURNAL, ROWS_PER_LINEAGE * self._state.lineages())


class Sweeper:
    """Finds archived lineages whose retention is over, and passes them to `delete`.

    `since` is the time of the last search, in milliseconds. A lineage passed to `delete` may be in memory again.
    """

    def __init__(
        self, commits: GroupCommit, *, retention: Retention, delete: Callable[[list[str], int], None], since: int
    ) -> None:
        self._commits = commits
        self._retention = retention
        self._delete = delete
        self._swept_at = since

    async def sweep(self, now: int) -> None:
        """Search if a search is due at `now` (milliseconds). If it found too many for one call, the next one continues.

        Raises:
            sqlite3.Error: the file cannot be read.
        """
        if now - self._swept_at < SWEEP:
            return

        found = 0

        for transient in (False, True):
            cutoff = now - self._retention.of(transient=transient)
            look = partial(Journal.expired, cutoff=cutoff, transient=transient, limit=DELETIONS)
            expired = await self._commits.run(look)
            self._delete(expired, now)
            found = max(found, len(expired))

        if found < DELETIONS:
            self._swept_at = now
            await self._commits.run(Journal.shrink)
