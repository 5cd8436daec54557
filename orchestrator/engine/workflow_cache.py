"""Workflows that wait for an answer in memory, so that they need not be replayed when it comes.

A workflow that waits is suspended: its code is given up, and called again from its beginning once it can go on. One
that is kept here waits like any other coroutine instead. To the engine it is still running, as during a long step. So
nothing that anybody relies on is kept: whatever happens to this process, a worker gets the task, and calls the code
again. Temporal calls this its workflow cache.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from orchestrator.engine.process_time import ProcessTime, Timer

logger = logging.getLogger(__name__)

#: For how many seconds a workflow is kept at most.
LONGEST: Final = 60.0

#: By how many bytes this process may grow until nothing is kept any more, and how often it looks, in seconds.
MOST_GROWTH: Final = 256 * 2**20
BETWEEN_LOOKS: Final = 1.0

#: How many places are remembered at which a workflow has been suspended.
MOST_PLACES: Final = 10_000

_MEMORY: Final = Path("/proc/self/statm")


def resident_bytes() -> int:
    """Return how many bytes of memory this process has, 0 where the system does not say."""
    try:
        return int(_MEMORY.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


class Waiters(Protocol):
    """Who waits for promises to be settled; see `SettlementWaiters`."""

    def add(self, promise_id: str) -> asyncio.Future[bool] | None:
        """Return a future that becomes True once this promise is settled on disk; None if it is."""

    def remove(self, promise_id: str, waiter: asyncio.Future[bool]) -> None:
        """Forget a future that nobody awaits any more."""


class WorkflowCache:
    """At most `limit` workflows that wait in memory, each for a minute at most.

    `permits` are those of the workflows that run at once; one that waits holds none. `resident` returns the bytes of
    memory that this process has.
    """

    def __init__(
        self,
        waiters: Waiters,
        *,
        limit: int,
        permits: asyncio.Semaphore,
        process_time: ProcessTime,
        resident: Callable[[], int] = resident_bytes,
    ) -> None:
        self._waiters = waiters
        self._limit = limit
        self._permits = permits
        self._time = process_time
        self._resident = resident
        self._most = resident() + MOST_GROWTH
        self._looked_at = process_time.seconds()
        self._is_large = False
        #: By the promise that each waits for: until when it is kept, the earliest first, and what it awaits.
        self._kept: dict[str, tuple[float, asyncio.Future[bool]]] = {}
        self._timer: Timer | None = None
        #: The places at which a workflow has been suspended, the earliest first.
        self._proven: dict[tuple[str, str], None] = {}
        #: How many permits the SDK has got back, or will, although nobody held them.
        self._owed = 0

    def __len__(self) -> int:
        return len(self._kept)

    async def settled(self, promise_id: str, *, place: tuple[str, str]) -> bool:
        """Return True once this promise is settled on disk, False when its workflow is to be suspended instead.

        `place` is the same for all runs of the same code that wait for the same: the workflow's name, and which of its
        waits this is. The first run is suspended there in any case, so that it shows the mistakes that only suspending
        does.
        """
        now = self._time.seconds()

        if len(self._kept) >= self._limit or self._is_too_large(now) or not self._is_proven(place):
            return False

        if promise_id in self._kept:
            # Another run of the same workflow, which can no longer record anything, has not noticed that yet.
            return False

        waiter = self._waiters.add(promise_id)

        if waiter is None:
            return True

        self._kept[promise_id] = now + LONGEST, waiter

        if self._timer is None:
            self._timer = self._time.later(LONGEST, self._drop_due)

        self._give_back_permit()

        try:
            is_settled = await waiter
            await self._permits.acquire()
        except BaseException:
            self._owed += 1
            raise
        finally:
            del self._kept[promise_id]
            self._waiters.remove(promise_id, waiter)

        return is_settled

    def drop(self, promise_id: str) -> None:
        """Have the workflow that waits for this promise suspended."""
        if (kept := self._kept.get(promise_id)) is not None:
            _drop(kept[1])

    def drop_all(self) -> None:
        """Have every workflow that is kept suspended."""
        for _, waiter in self._kept.values():
            _drop(waiter)

    def close(self) -> None:
        """Have every workflow that is kept suspended, and keep none from now on."""
        self._limit = 0
        self.drop_all()

        if self._timer is not None:
            self._timer.cancel()

    def _drop_due(self) -> None:
        self._timer = None
        now = self._time.seconds()

        for until, waiter in self._kept.values():
            if until > now:
                self._timer = self._time.later(until - now, self._drop_due)
                return

            _drop(waiter)

    def _give_back_permit(self) -> None:
        if self._owed:
            self._owed -= 1
        else:
            self._permits.release()

    def _is_proven(self, place: tuple[str, str]) -> bool:
        """Return whether a workflow has been suspended at this place; one is from now on."""
        if place in self._proven:
            return True

        if len(self._proven) >= MOST_PLACES:
            del self._proven[next(iter(self._proven))]

        self._proven[place] = None

        return False

    def _is_too_large(self, now: float) -> bool:
        """Return whether this process has no memory left for this. What is kept is dropped then."""
        if now >= self._looked_at + BETWEEN_LOOKS:
            self._looked_at = now
            was_large, self._is_large = self._is_large, self._resident() > self._most

            if self._is_large and not was_large:
                logger.warning("this process has grown by %d MiB: no workflow waits in memory now", MOST_GROWTH >> 20)
                self.drop_all()

        return self._is_large


def _drop(waiter: asyncio.Future[bool]) -> None:
    if not waiter.done():
        waiter.set_result(False)
