"""A sleep that ends early when there is something to do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resonate.timing import Sleeper


class Alarm:
    """Sleeps with the given sleeper, and wakes up when it is rung."""

    def __init__(self, sleeper: Sleeper) -> None:
        self._sleeper = sleeper
        self._bell = asyncio.Event()
        self._until = 0

    def ring(self) -> None:
        """End the sleep under way, if there is one."""
        self._bell.set()

    def ring_before(self, due: int | None) -> None:
        """Ring if `due` (milliseconds; None means never) is before the end of the sleep."""
        if due is not None and due < self._until:
            self._bell.set()

    async def sleep(self, seconds: float, *, until: int) -> None:
        """Sleep for so many seconds, or less; `until` is the same moment in milliseconds of the clock."""
        self._until = until
        self._bell.clear()
        waits = (asyncio.ensure_future(self._sleeper(seconds)), asyncio.ensure_future(self._bell.wait()))

        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
