"""Requests of a worker that outlive a short absence of the engine.

A worker that gave up at once would throw away the steps it has under way, and do them again when the engine is back.
One that waited for ever, as the SDK's own client does, would hold tasks whose lease is long over and has been given to
another worker.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from resonate_base import ConnectorError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from resonate_base.connections import Network

_FIRST_PAUSE: Final = 0.1
_SLOWEST: Final = 2.0


class RetryingNetwork:
    """A network to an engine whose requests are bounded: each try by `seconds`, all by `retry_seconds`.

    The inner network is never started, only used and stopped: started, it might retry by itself. Asking again is safe
    because every request of the protocol either changes nothing the second time or is refused by its version.
    """

    def __init__(
        self,
        inner: Network,
        *,
        seconds: float,
        retry_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._inner = inner
        self._seconds = seconds
        self._retry_seconds = retry_seconds
        self._clock = clock
        self._sleep = sleep
        self._stopped = False

    async def start(self) -> None:
        """Do nothing: the first request connects."""

    async def stop(self) -> None:
        """Let go of the connection; requests that wait for the engine give up."""
        self._stopped = True
        await self._inner.stop()

    async def send(self, req: str, headers: dict[str, str] | None = None) -> str:
        """Return the engine's answer to this request.

        Raises:
            ConnectorError: none came in time. Whether the engine acted is unknown.
        """
        end = self._clock() + self._retry_seconds
        pause = _FIRST_PAUSE

        while True:
            try:
                return await self._once(req, headers)
            except ConnectorError:
                if self._stopped or self._clock() + pause > end:
                    raise

            await self._sleep(pause)
            pause = min(pause * 2, _SLOWEST)

    async def _once(self, req: str, headers: dict[str, str] | None) -> str:
        try:
            async with asyncio.timeout(self._seconds):
                return await self._inner.send(req, headers)

        except TimeoutError as error:
            raise ConnectorError(error) from error
