"""Waiting in this process for a promise to be settled, on disk."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.engine.embedded.memory.lineages import origin_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.engine.embedded.durable_state import DurableState


class SettlementWaiters:
    """The waiters of each promise. A waiter that has given up leaves nothing behind."""

    def __init__(self, durable: DurableState) -> None:
        self._durable = durable
        self._waiting: dict[str, list[asyncio.Future[bool]]] = {}

    async def wait(self, promise_id: str, seconds: float) -> bool:
        """Wait at most so many seconds; return whether the promise is settled on disk.

        Raises:
            ConnectorError: the engine is unavailable.
        """
        await self._durable.ready_for({"id": promise_id})
        waiter = self.add(promise_id)

        if waiter is None:
            return True

        try:
            await asyncio.wait((waiter,), timeout=seconds)
        finally:
            self.remove(promise_id, waiter)

        return waiter.done() and waiter.result()

    def add(self, promise_id: str) -> asyncio.Future[bool] | None:
        """Return a future that becomes True once this promise is settled on disk; None if it is.

        It becomes False if the settlement could not be written. `remove` it in the end. It may stay silent once the
        engine has gone back to what is on disk.
        """
        promise = self._durable.state.promises.get(promise_id)
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        if promise is None or promise.state == "pending":
            self._waiting.setdefault(promise_id, []).append(waiter)

            return waiter

        # It may have been told already that this is settled, while the last change of its lineage is not written.
        written = self._durable.written([origin_of(promise_id)])

        if written is None:
            return None

        written.add_done_callback(partial(_pass_on, waiter))

        return waiter

    def remove(self, promise_id: str, waiter: asyncio.Future[bool]) -> None:
        """Forget a future that nobody awaits any more."""
        waiting = self._waiting.get(promise_id)

        if waiting is not None and waiter in waiting:
            waiting.remove(waiter)

            if not waiting:
                del self._waiting[promise_id]

    def settled(self, promise_ids: Iterable[str]) -> None:
        """Wake the waiters of these promises."""
        for promise_id in promise_ids:
            for waiter in self._waiting.pop(promise_id, ()):
                if not waiter.done():
                    waiter.set_result(True)


def _pass_on(waiter: asyncio.Future[bool], written: asyncio.Future[None]) -> None:
    is_written = not written.cancelled() and written.exception() is None

    if not waiter.done():
        waiter.set_result(is_written)
