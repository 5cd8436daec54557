"""A nap that ends early when there is something to do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resonate.timing import Sleeper


class Alarm:
    """Sleeps by the given sleeper, and wakes when it rings."""

    def __init__(self, sleeper: Sleeper) -> None:
        self._sleeper = sleeper
        self._bell = asyncio.Event()
        self._until = 0

    def ring(self) -> None:
        """End the nap under way, if there is one."""
        self._bell.set()

    def ring_before(self, due: int | None) -> None:
        """Ring when something is due (milliseconds; None for never) before the nap ends."""
        if due is not None and due < self._until:
            self._bell.set()

    async def nap(self, seconds: float, *, until: int) -> None:
        """Sleep so many seconds, which is until so many milliseconds by the clock, or less."""
        self._until = until
        self._bell.clear()
        naps = (asyncio.ensure_future(self._sleeper(seconds)), asyncio.ensure_future(self._bell.wait()))

        try:
            await asyncio.wait(naps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for nap in naps:
                nap.cancel()
