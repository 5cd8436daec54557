"""An event loop that does not wait: its clock jumps ahead when there is nothing to do, and stands still during work.

It is for tests of the order and the times of events. A wait for something outside the loop, such as a thread or another
process, ends at once.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import Any


class Skipping(selectors.DefaultSelector):
    """Returns at once, as if the time that the loop would wait for had passed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0 if timeout is not None else None)
        self.now += 0 if events else max(timeout or 0, 0)

        return events


class SkippingLoop(asyncio.SelectorEventLoop):
    """The loop with that clock."""

    def __init__(self) -> None:
        self._skipping = Skipping()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.now


#: What the fixture `anyio_backend` returns in a module whose tests run on it.
SKIPPING: tuple[str, dict[str, Any]] = ("asyncio", {"loop_factory": SkippingLoop})
