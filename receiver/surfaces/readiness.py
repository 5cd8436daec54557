"""Whether the engine responds: one probe for all requests that ask at the same time.

Anybody may request `/readyz` as often as they like. That must not load the engine, whose connections are for callbacks.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from orchestrator.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)

#: Seconds for which the result of a probe is remembered, whatever it was.
REMEMBERED: Final = 1.0


class Readiness:
    """One probe at a time, with `check`, for at most `seconds`; its result is shared, and remembered for a second.

    `check` returns if the engine responds and raises EngineUnavailable if it does not. A caller that stops waiting for
    a probe does not cancel it for the others.
    """

    def __init__(
        self, check: Callable[[], Awaitable[None]], *, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._check: Final = check
        self._seconds: Final = seconds
        self._clock: Final = clock
        self._probe: asyncio.Task[str | None] | None = None
        self._ended = 0.0
        self._ready = True

    async def wait(self) -> None:
        """Return if the engine responds, or responded within the last second.

        Raises:
            EngineUnavailable: it does not respond, or did not respond within the last second.
        """
        if self._probe is None or (self._probe.done() and not self._is_fresh()):
            self._probe = asyncio.create_task(self._check_once())

        probe = self._probe

        if not probe.done():
            await asyncio.wait({probe})

        if (fault := probe.result()) is not None:
            raise EngineUnavailable(fault)

    def _is_fresh(self) -> bool:
        return 0 <= self._clock() - self._ended < REMEMBERED

    async def _check_once(self) -> str | None:
        """Return what is wrong with the engine, or None."""
        check = asyncio.ensure_future(self._check())

        try:
            await asyncio.wait({check}, timeout=self._seconds)
        finally:
            self._ended = self._clock()

        if not check.done():
            # A driver may need seconds to disconnect from a silent server; nobody waits for that.
            check.cancel()
            check.add_done_callback(_forget)

            return self._not_ready(EngineUnavailable(f"the engine did not answer within {self._seconds:g} s"))

        try:
            check.result()
        except EngineUnavailable as error:
            return self._not_ready(error)

        if not self._ready:
            logger.info("ready: the engine answers")

        self._ready = True

        return None

    def _not_ready(self, error: EngineUnavailable) -> str:
        """Return the public text of the error, and log its details, once until the engine responds again."""
        if self._ready:
            logger.warning("not ready: %s", f"{error} {error.detail}".strip())

        self._ready = False

        return str(error)


def _forget(check: asyncio.Future[None]) -> None:
    if not check.cancelled():
        check.exception()
