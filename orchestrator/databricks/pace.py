"""How fast this process polls a workspace: evenly, and not at all for a while after the workspace asked for that.

All watchers of a process share one pace. So a 429 that one of them gets slows all of them, and a workspace that comes
back after an outage is asked by one of them first, and then by the others at a bounded rate.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from orchestrator.errors import StepRefused, StepUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

#: How many calls a second all watchers of a process make at most.
RATE: Final = 25.0

#: For how many seconds nobody polls after a failure without a Retry-After: the first time, and at most.
FIRST_HOLD: Final = 1.0
LONGEST_HOLD: Final = 15.0

#: How long the library may sleep between two tries of one call, in seconds, if less than it would. A poll sleeps not at
#: all: while it slept, the other watchers would go on calling.
longest_sleep: ContextVar[float | None] = ContextVar("countersign_longest_sleep", default=None)


class Held(StepUnavailable):
    """The workspace is not polled now, because another poll failed. It may be polled in `retry_after` seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__("Databricks is not polled for a while, because a poll failed", retry_after=seconds)


class Pace:
    """The pace of all polls of one process. Belongs to one event loop. `clock` counts seconds and never goes back."""

    def __init__(
        self,
        *,
        rate: float = RATE,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._gap: Final = 1 / rate
        #: Seconds, as this pace counts them.
        self.clock: Final = clock
        self._sleep = sleep
        self._next_at = 0.0
        self._held_until = 0.0
        self._failures = 0
        self._probing = False

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn to make one call, and notice how the call ends.

        After a failure one call is made alone, and the others only when it has succeeded.

        Raises:
            Held: nobody may call now.
            StepUnavailable: from the call; nobody calls for its `retry_after`, or for a pause that doubles.
        """
        await self._wait()
        probe = self._failures > 0
        self._probing = self._probing or probe
        mark = longest_sleep.set(0.0)

        try:
            yield
        except StepUnavailable as error:
            self._hold(error.retry_after)
            raise
        except StepRefused:
            # It does answer.
            self._failures = 0
            raise
        else:
            self._failures = 0
        finally:
            longest_sleep.reset(mark)
            self._probing = self._probing and not probe

    async def _wait(self) -> None:
        self._check()
        at = max(self.clock(), self._next_at)
        self._next_at = at + self._gap

        if (seconds := at - self.clock()) > 0:
            await self._sleep(seconds)
            # Another call may have failed meanwhile.
            self._check()

    def _check(self) -> None:
        left = self._held_until - self.clock()

        if left > 0:
            raise Held(left)

        if self._probing:
            raise Held(FIRST_HOLD)

    def _hold(self, retry_after: float | None) -> None:
        doubled: float = min(FIRST_HOLD * 2.0**self._failures, LONGEST_HOLD)
        self._failures = min(self._failures + 1, 10)
        pause = doubled if retry_after is None else max(retry_after, FIRST_HOLD)
        self._held_until = max(self._held_until, self.clock() + pause)
