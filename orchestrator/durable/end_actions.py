"""What a workflow does when its code has ended, in an order that a replay repeats."""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class EndActions:
    """Actions for the end of a function call, the earliest place first, and those of one place as they were added."""

    def __init__(self) -> None:
        self._actions: Final[list[tuple[tuple[int, ...], int, Callable[[], Awaitable[None]]]]] = []
        self._added: Final = itertools.count()

    def add(self, action: Callable[[], Awaitable[None]], place: tuple[int, ...]) -> None:
        """Add an action."""
        heapq.heappush(self._actions, (place, next(self._added), action))

    async def run(self) -> None:
        """Run the actions, and those that they add."""
        while self._actions:
            await heapq.heappop(self._actions)[-1]()

    def clear(self) -> None:
        """Forget the actions."""
        self._actions.clear()
