"""Whether the engine answers, asked once for all who want to know at the same time.

Anybody may ask, as often as they like, so what they ask must cost the engine nothing more: its connections are for
callbacks.
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

#: Seconds for which an answer is remembered, whatever it was.
REMEMBERED: Final = 1.0


class Readiness:
    """One probe at a time, by `check`, for at most `seconds`; its result is shared and then remembered for a second.

    `check` returns when the engine answers and raises EngineUnavailable when it does not. Whoever stops waiting for a
    probe leaves it running for the others.
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
        """Return when the engine answers, or answered within the last second.

        Raises:
            EngineUnavailable: it does not, or did not.
        """
        if self._probe is None or (self._probe.done() and not self._is_fresh()):
            self._probe = asyncio.create_task(self._ask())

        probe = self._probe

        if not probe.done():
            await asyncio.wait({probe})

        if (fault := probe.result()) is not None:
            raise EngineUnavailable(fault)

    def _is_fresh(self) -> bool:
        return 0 <= self._clock() - self._ended < REMEMBERED

    async def _ask(self) -> str | None:
        """Return what is wrong with the engine, None where nothing is."""
        check = asyncio.ensure_future(self._check())

        try:
            await asyncio.wait({check}, timeout=self._seconds)
        finally:
            self._ended = self._clock()

        if not check.done():
            # A driver may need seconds to let go of a silent server; nobody waits for that.
            check.cancel()
            check.add_done_callback(_forget)

            return self._told(EngineUnavailable(f"the engine did not answer within {self._seconds:g} s"))

        try:
            check.result()
        except EngineUnavailable as error:
            return self._told(error)

        if not self._ready:
            logger.info("ready: the engine answers")

        self._ready = True

        return None

    def _told(self, error: EngineUnavailable) -> str:
        """Return what strangers are told. The log has the reason, once until the engine answers again."""
        if self._ready:
            logger.warning("not ready: %s", f"{error} {error.detail}".strip())

        self._ready = False

        return str(error)


def _forget(check: asyncio.Future[None]) -> None:
    if not check.cancelled():
        check.exception()
