"""What the engine does by itself: firing deadlines, sending delayed announcements, and housekeeping."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from orchestrator.engine.embedded.alarm import Alarm
from orchestrator.engine.embedded.durable_state import DEADLINES

if TYPE_CHECKING:
    from resonate.timing import Clock, Sleeper

    from orchestrator.engine.embedded.delivery import MessageDelivery
    from orchestrator.engine.embedded.durable_state import DurableState

#: The shortest pause between two ticks, in seconds.
RESOLUTION: Final = 0.005
#: The pause between two slices of housekeeping, in seconds.
PACE: Final = 0.02


class Ticker:
    """Ticks at the next deadline, and at least every `interval` seconds."""

    def __init__(  # noqa: PLR0913 - what it moves, and its seams
        self,
        durable: DurableState,
        delivery: MessageDelivery,
        *,
        clock: Clock,
        sleeper: Sleeper,
        interval: float,
        resolution: float = RESOLUTION,
    ) -> None:
        self._durable = durable
        self._delivery = delivery
        self._clock = clock
        self._interval = interval
        self._resolution = resolution
        self._alarm = Alarm(sleeper)
        self._ticking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start ticking. A second call does nothing."""
        if self._ticking is None:
            self._ticking = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop ticking."""
        if self._ticking is not None:
            self._ticking.cancel()

            with contextlib.suppress(asyncio.CancelledError):
                await self._ticking

    def wake(self) -> None:
        """Tick now: there is something to do."""
        self._alarm.ring()

    def step_done(self) -> None:
        """Tick earlier than planned if a step has set an earlier deadline."""
        self._alarm.ring_before(self._durable.state.take_earliest_set())

    async def _run(self) -> None:
        while True:
            try:
                await self._durable.upkeep()
                await self._announce_missed()
                more = self._durable.tick()
                self._delivery.send_due(self._durable.time())
            except Exception as error:  # noqa: BLE001 - deadlines must go on firing
                self._durable.step_failed(error)
                more = False

            if not more:
                await self._sleep()

            await asyncio.sleep(0)

    async def _announce_missed(self) -> None:
        """Announce the tasks whose announcement was missed, before a restart or before there was a receiver."""
        missed = self._delivery.take_missed()

        if not missed:
            return

        written = self._durable.written()

        if written is not None:
            await asyncio.wait((written,))

            if written.exception() is not None:
                return  # the state loaded from the file announces its own tasks

        for start in range(0, len(missed), DEADLINES):
            now, state = self._durable.time(), self._durable.state
            self._delivery.send(state.announce(missed[start : start + DEADLINES], now), state, now)
            await asyncio.sleep(0)

    async def _sleep(self) -> None:
        """Sleep until the next deadline, an earlier one that is set in the meantime, or the end of the interval."""
        if self._delivery.can_send_missed:
            return

        # Read from the clock, not from the engine: the engine's time stands still while a clock set back catches up.
        now = self._clock()
        times = [at for at in (self._durable.state.next_due(), self._delivery.next_due()) if at is not None]
        seconds = min(self._interval, max(self._resolution, (min(times) - now) / 1000)) if times else self._interval

        if self._durable.has_housekeeping():
            seconds = min(seconds, PACE)

        await self._alarm.sleep(seconds, until=now + int(seconds * 1000))
