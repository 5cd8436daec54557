"""Polling many runs: a list of those in flight says of 25 runs with one call what is otherwise a call for each.

A list is used only for what it says: that a run is in flight. A run that is not in it is read, so a list that is cut
off or lacks a run costs a call and decides nothing. Few runs are read one by one, and so are all where it costs less.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchestrator.errors import StepRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from collections.abc import Set as AbstractSet

    from orchestrator.databricks.pace import Pace
    from orchestrator.databricks.run import ActiveRuns, JobRun

logger = logging.getLogger(__name__)

#: From how many watched runs on lists are used: as many as one page has.
MANY: Final = 25

#: How old a list may be that says something of a run, as a share of the run's interval. The next poll is due within an
#: interval after the list, not after its use, so no death is seen later because of it.
FRESH: Final = 0.5

#: Over which share of the interval, at its end, the next polls of the runs of one list are spread.
SPREAD: Final = 0.2

#: For how many seconds no list is tried after one was refused.
_WITHOUT: Final = 600.0


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a poll saw, `age` seconds ago. `run` is None where a list said that the run is in flight."""

    run: JobRun | None
    age: float = 0.0


@dataclass(frozen=True, kw_only=True)
class _Listed:
    began: float
    run_ids: AbstractSet[int]


_NOTHING: Final = _Listed(began=float("-inf"), run_ids=frozenset())


class RunPolls:
    """The polls of all watched runs of one process. `read` returns a run, `list_active` a page of those in flight."""

    def __init__(
        self,
        read: Callable[[int], Awaitable[JobRun]],
        list_active: Callable[[str | None], Awaitable[ActiveRuns]],
        pace: Pace,
    ) -> None:
        self._read = read
        self._list_active = list_active
        self._pace = pace
        self._clock = pace.clock
        self._lock = asyncio.Lock()
        self._watched: dict[int, float] = {}
        self._listed = _NOTHING
        self._without_until = 0.0
        self._looked_through = 0.0

    async def poll(self, run_id: int, *, interval: float) -> Seen:
        """Return what is known of this run, which is polled every `interval` seconds.

        Raises:
            Held, RunGone, StepRefused, StepUnavailable: as for `Pace.turn` and `Databricks.read`.
        """
        asked = self._clock()
        self._watched[run_id] = asked + 2 * interval

        if self._are_many():
            listed = await self._list(not_before=asked - FRESH * interval)

            if run_id in listed.run_ids:
                return Seen(run=None, age=max(self._clock() - listed.began, 0.0))

        async with self._pace.turn():
            run = await self._read(run_id)

        if run.over:
            self._watched.pop(run_id, None)

        return Seen(run=run)

    def _are_many(self) -> bool:
        now = self._clock()

        # Looked through at most once a second, since each look takes time for each run.
        if len(self._watched) >= MANY and now - self._looked_through >= 1:
            self._looked_through = now
            self._watched = {run_id: until for run_id, until in self._watched.items() if until > now}

        return len(self._watched) >= MANY

    async def _list(self, *, not_before: float) -> _Listed:
        async with self._lock:
            if self._listed.began < not_before and self._clock() >= self._without_until:
                try:
                    self._listed = await self._list_now()
                except StepRefused as error:
                    logger.warning("runs cannot be listed, so each is read: %s", error)
                    self._without_until = self._clock() + _WITHOUT

            return self._listed if self._listed.began >= not_before else _NOTHING

    async def _list_now(self) -> _Listed:
        began, watched, found, pages = self._clock(), frozenset(self._watched), set[int](), 0
        token: str | None = None

        # Where a page tells of less than one run of ours, reading the rest takes fewer calls.
        while not watched <= found and pages < len(watched & found) + MANY:
            async with self._pace.turn():
                page = await self._list_active(token)

            pages += 1
            found |= page.run_ids
            token = page.next_page

            if token is None:
                break

        return _Listed(began=began, run_ids=found)
