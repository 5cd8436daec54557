"""Requests of a worker that survive a short outage of the engine.

A worker that gave up at once would lose its steps under way and run them again after the outage. A worker that retried
forever, as the SDK's own client does, would hold tasks whose lease lapsed long ago and that another worker runs now.
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
    """A network to an engine whose requests are bounded: each try by `seconds`, all tries by `retry_seconds`.

    The inner network is used and stopped but never started: once started, it might retry by itself. Retrying is safe
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
        """Close the connection. Requests that are waiting for the engine give up."""
        self._stopped = True
        await self._inner.stop()

    async def send(self, req: str, headers: dict[str, str] | None = None) -> str:
        """Return the engine's reply to this request.

        Raises:
            ConnectorError: no reply came in time. It is unknown whether the engine acted.
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
