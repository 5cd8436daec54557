"""How many waits are open and since when the oldest is, for the metrics: what an engine can say of it cheaply.

Each engine has its own way, and no way costs more than a bounded effort. Where it cannot be said for that, the answer
is None, never a wrong number.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from resonate.error import ResonateError
from resonate_base import ConnectorError

from orchestrator.stored_names import CALLBACK_TAG
from orchestrator.text.crashes import name_of_kind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from resonate.promises import Promises as SDKPromises

logger = logging.getLogger(__name__)

#: For how many seconds an answer of a remote engine is used again.
LASTS: Final = 15.0

#: How many promises one search returns, and how many searches one answer may take.
PAGE: Final = 200
PAGES: Final = 25


@dataclass(frozen=True, kw_only=True)
class OpenWaits:
    """How many waits are open, and when the oldest was opened (milliseconds since the epoch), None if there is none."""

    count: int
    oldest_at: int | None


type LookAtWaits = Callable[[], Awaitable[OpenWaits | None]]


def waits_among(opened: Mapping[str, int]) -> OpenWaits:
    """Return the open waits, given when each was opened. Takes one look at each."""
    return OpenWaits(count=len(opened), oldest_at=min(opened.values(), default=None))


async def waits_by_search(promises: SDKPromises, tags: Mapping[str, str]) -> OpenWaits | None:
    """Return the open waits of an engine that can search by `tags`, which every wait has; None if there are too many.

    Raises:
        ResonateError, ValueError, TypeError: the engine cannot, or did not answer.
    """
    opened: dict[str, int] = {}
    cursor: str | None = None

    for _ in range(PAGES):
        found = await promises.search("pending", dict(tags), PAGE, cursor)
        opened |= {each.id: each.created_at for each in found.promises if CALLBACK_TAG in each.tags}
        cursor = found.cursor

        if cursor is None:
            return waits_among(opened)

    return None


class SharedLook:
    """Asks a remote engine at most every `LASTS` seconds, and never twice at once, however often it is called.

    An engine that fails, or takes longer than `seconds`, gives None until it is asked again.
    """

    def __init__(self, look: LookAtWaits, *, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._look = look
        self._seconds = seconds
        self._clock = clock
        self._lock = asyncio.Lock()
        self._seen: OpenWaits | None = None
        self._until = 0.0

    async def __call__(self) -> OpenWaits | None:
        """Return the open waits as of the last look, None if it did not find out."""
        async with self._lock:
            if self._clock() >= self._until:
                self._seen = await self._looked()
                self._until = self._clock() + LASTS

            return self._seen

    async def _looked(self) -> OpenWaits | None:
        try:
            async with asyncio.timeout(self._seconds):
                return await self._look()

        except (TimeoutError, ResonateError, ConnectorError, ValueError, TypeError) as error:
            logger.debug("the open waits are not known: %s", name_of_kind(error))

            return None
