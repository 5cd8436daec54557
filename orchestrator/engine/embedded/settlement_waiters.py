"""Waiting in this process for a promise to be settled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class SettlementWaiters:
    """The waiters of each promise. A waiter that has given up leaves nothing behind."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}

    async def wait(self, promise_id: str, seconds: float) -> bool:
        """Wait at most so many seconds; return whether `settled` was called with the promise."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(promise_id, [])
        waiting.append(future)

        try:
            await asyncio.wait((future,), timeout=seconds)
        finally:
            waiting.remove(future)

            if not waiting and self._waiting.get(promise_id) is waiting:
                del self._waiting[promise_id]

        return future.done()

    def settled(self, promise_ids: Iterable[str]) -> None:
        """Wake the waiters of these promises."""
        for promise_id in promise_ids:
            for future in self._waiting.pop(promise_id, ()):
                if not future.done():
                    future.set_result(None)
