"""A clock that stands still until it is moved by hand, and the sleeps that end when it gets there."""

from __future__ import annotations

import asyncio
import heapq
import math
from itertools import count
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchestrator.engine.process_time import Timer


class HandClock:
    """The time of a trial. Called, it returns milliseconds since the epoch, as the SDK's clocks do."""

    def __init__(self, now: int) -> None:
        self._now = now
        self._naps: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers: Final[Iterator[int]] = count()

    def __call__(self) -> int:
        """Return the time in milliseconds since the epoch."""
        return self._now

    def seconds(self) -> float:
        """Return the time in seconds since the epoch."""
        return self._now / 1000

    async def sleep(self, seconds: float) -> None:
        """Return when the clock has been moved by so many seconds."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return

        await self._nap(seconds)

    def call_later(self, seconds: float, act: Callable[[], None]) -> Timer:
        """Call a function when the clock has been moved by so many seconds, unless what is returned is cancelled."""
        nap = self._nap(seconds)
        nap.add_done_callback(lambda ended: None if ended.cancelled() else act())

        return nap

    def _nap(self, seconds: float) -> asyncio.Future[None]:
        nap: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._naps, (self._now + math.ceil(seconds * 1000), next(self._numbers), nap))

        return nap

    def is_nap(self, future: object) -> bool:
        """Return whether this is what a sleep awaits."""
        return any(nap is future for _, _, nap in self._naps)

    def next_due(self) -> int | None:
        """Return when the next sleep ends, in milliseconds since the epoch; None if nothing sleeps."""
        while self._naps and self._naps[0][2].done():
            heapq.heappop(self._naps)

        return self._naps[0][0] if self._naps else None

    def move(self, to: int) -> None:
        """Move the clock to this moment, never back, and end the sleeps that are due then."""
        self._now = max(self._now, to)

        while self._naps and self._naps[0][0] <= self._now:
            nap = heapq.heappop(self._naps)[2]

            if not nap.done():
                nap.set_result(None)
