"""Keeping memory and file from growing, in slices small enough for the event loop.

Three rules. A lineage whose rows hold up the end of a journal grown long is written whole, so that the rows can go. A
lineage that is over is written whole and then lives on disk only. A lineage that has been over for its retention is
deleted. What is to be done is decided on the loop, between two transactions; it rides in the next one.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from orchestrator.engine.embedded.disk.writes import Snapshot

if TYPE_CHECKING:
    from orchestrator.engine.embedded.disk.group_commit import Batch, GroupCommit
    from orchestrator.engine.embedded.memory.state import IndexedState

#: Lineages handled in one slice: about two milliseconds of the loop.
SLICE: Final = 64
#: Milliseconds for which a finished lineage stays in memory: who started it is likely to ask for it now.
LINGER: Final = 10_000
#: The journal may have this many rows, or so many per lineage in memory, whichever is more.
SHORTEST_JOURNAL: Final = 20_000
ROWS_PER_LINEAGE: Final = 8


class Housekeeping:
    """Decides what rides in a batch. Retention times are in milliseconds."""

    def __init__(self, *, retention: int, transient_retention: int) -> None:
        self.retention: Final = (retention, transient_retention)
        #: Lineages that are over and on disk only; asking for one brings it back.
        self.archived: set[str] = set()
        #: Lineages in memory that came back unchanged, so that they need not be written again.
        self._unchanged: set[str] = set()

    def restart(self, archived: set[str]) -> None:
        """Go on with these lineages on disk only."""
        self.archived = archived
        self._unchanged.clear()

    def came_back(self, origin: str) -> None:
        """Take note that an archived lineage is in memory again."""
        self.archived.discard(origin)
        self._unchanged.add(origin)

    def drop_expired(self, state: IndexedState, now: int) -> list[str]:
        """Drop a slice of the lineages in memory whose retention is over; return them."""
        dropped: list[str] = []

        for transient in (False, True):
            over = islice(state.finished_before(now - self.retention[transient], transient=transient), SLICE)
            dropped += [origin for origin in list(over) if state.drop(origin)]

        return dropped

    def fill(self, batch: Batch, state: IndexedState, commits: GroupCommit, now: int) -> None:
        """Add a slice of work to a batch that is about to be written."""
        commits.drop(self.drop_expired(state, now), now)

        for transient in (False, True):
            over = state.finished_before(now - self._linger(transient), transient=transient)

            for origin in islice(over, SLICE):
                self._archive(origin, batch, state, commits)

        self._shorten(batch, state, commits)

    def drop_archived(self, origins: list[str], commits: GroupCommit, now: int) -> None:
        """Have archived lineages deleted; those that are back in memory are not."""
        gone = [origin for origin in origins if origin in self.archived]
        self.archived.difference_update(gone)
        commits.drop(gone, now)

    def settle(self, batch: Batch, state: IndexedState, commits: GroupCommit) -> None:
        """Forget the lineages that this batch has put on disk, unless they have changed meanwhile."""
        for origin in batch.archived:
            if origin in commits.uncovered or state.finished_at(origin) is None:
                continue

            if state.drop(origin):
                self.archived.add(origin)
                self._unchanged.discard(origin)
            else:
                self._unchanged.add(origin)

    def pending(self, state: IndexedState, commits: GroupCommit, now: int) -> bool:
        """Return whether there is work for `fill`."""
        if commits.last - commits.first >= _longest(state):
            return True

        return any(
            next(state.finished_before(now - self._linger(transient), transient=transient), None) is not None
            for transient in (False, True)
        )

    def _linger(self, transient: bool) -> int:  # noqa: FBT001 - the two classes of lineages
        return min(LINGER, self.retention[transient])

    def _archive(self, origin: str, batch: Batch, state: IndexedState, commits: GroupCommit) -> None:
        if origin not in self._unchanged or origin in commits.uncovered:
            over, state_now = state.finished_at(origin), state.snapshot(origin)
            batch.writes.snapshots.append(Snapshot(origin, commits.last, state.is_transient(origin), over, state_now))
            commits.uncovered.pop(origin, None)
            self._unchanged.discard(origin)

        batch.archived.append(origin)

    def _shorten(self, batch: Batch, state: IndexedState, commits: GroupCommit) -> None:
        # The newest row stays: it holds the last number and the last time.
        excess = commits.last - commits.first - _longest(state)
        oldest = commits.first

        for _ in range(SLICE):
            oldest = next(iter(commits.uncovered.values()), commits.last)

            if oldest - commits.first > excess or oldest == commits.last:
                break

            origin = next(iter(commits.uncovered))
            batch.writes.snapshots.append(
                Snapshot(origin, commits.last, transient=False, finished_at=None, state=state.snapshot(origin))
            )
            del commits.uncovered[origin]
            self._unchanged.discard(origin)

        if excess >= 0 and oldest > commits.first:
            batch.writes.trim = oldest - 1


def _longest(state: IndexedState) -> int:
    return max(SHORTEST_JOURNAL, ROWS_PER_LINEAGE * state.lineages())
