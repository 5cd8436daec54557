"""The world of a trial: its clock, its journal, what surrounds it, and one process after another."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from orchestrator.errors import CountersignError
from orchestrator.testing.trial.life import Life
from orchestrator.testing.trial.memory_journal import CrashPlan, new_database

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Coroutine

    from orchestrator.engine import Engine
    from orchestrator.testing.trial.hand_clock import HandClock
    from orchestrator.testing.trial.surroundings import Surroundings

#: For how many turns of the event loop everything must be at rest: some callbacks run between two tasks.
_CALM: Final = 4

#: After how many turns in which something is busy a trial leaves the processor to threads and other processes.
_TURNS: Final = 200

#: Seconds of real time that a step may wait for something outside of the trial.
PATIENCE: Final = 30.0


class TrialError(CountersignError, AssertionError):
    """The trial did not go as the test expects. The message says what happened instead."""


class World:
    """Everything in a trial. `do`, `settle` and `advance` survive the crashes of the process."""

    def __init__(self, surroundings: Surroundings, clock: HandClock, *, crash_everywhere: bool) -> None:
        self.surroundings: Final = surroundings
        self.clock: Final = clock
        self._plan = CrashPlan(everywhere=crash_everywhere)
        self._database: sqlite3.Connection | None = None
        self._life: Life | None = None
        self._is_open = False
        self.lives = 0

    async def open(self) -> None:
        """Start the process.

        Raises: what starting it raises.
        """
        self._is_open = True

        try:
            await self._alive()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End the process, without another life."""
        self._is_open = False

        if self._life is not None:
            self._life.die()
            await self._life.buried()
            self._life = None

        if self._database is not None:
            self._database.close()

    async def crash(self) -> None:
        """Let the process die as it is, and start it again."""
        await self.settle()
        (await self._alive()).die()
        await self.settle()

    async def do[T](self, act: Callable[[Engine], Coroutine[Any, Any, T]]) -> T:
        """Do this in the process and return the result. If the process dies meanwhile, do it again in the next one."""
        while True:
            life = await self._alive()
            work = life.spawn(act(life.engine))
            await asyncio.wait({work})

            if not (work.cancelled() and life.dead):
                return work.result()

    async def settle(self) -> None:
        """Return when everything waits for the clock or for the test.

        Raises:
            TrialError: a step has waited for something else for half a minute.
        """
        began = time.monotonic()
        calm = turns = lives = 0

        while calm < _CALM:
            life = await self._alive()

            if self.lives != lives:
                # Replaying many steps after each of many crashes takes long, and yet it goes on.
                lives, began = self.lives, time.monotonic()

            await asyncio.sleep(0)
            busy = life.busy()
            calm = 0 if life.dead or busy is not None else calm + 1
            turns += 1

            if busy is not None and turns > _TURNS:
                await asyncio.sleep(0.001)

                if time.monotonic() - began > PATIENCE:
                    raise TrialError(f"something has gone on for {PATIENCE:g} s of real time: {_described(busy)}")

    async def advance(self, by: timedelta) -> None:
        """Move the clock by so much, from one moment at which something is due to the next.

        Raises:
            ValueError: it would go back.
            TypeError: this is no timedelta.
        """
        if not isinstance(by, timedelta):
            raise TypeError(f"a trial's clock is moved by a timedelta, such as timedelta(hours=1), not by {by!r}")

        milliseconds = round(by.total_seconds() * 1000)

        if milliseconds < 0:
            raise ValueError(f"a trial's clock does not go back: {by}")

        await self.settle()
        end = self.clock() + milliseconds

        while (due := self.clock.next_due()) is not None and due <= end:
            await self._move(due)

        await self._move(end)

    async def _move(self, to: int) -> None:
        self.clock.move(to)
        (await self._alive()).wake()
        await self.settle()

    async def _alive(self) -> Life:
        if not self._is_open:
            raise TrialError("the trial has not begun, or is over: use it inside `async with Trial(...) as trial`")

        while self._life is None or self._life.dead:
            if self._life is not None:
                await self._life.buried()

            self.lives += 1
            self._database = new_database() if self._database is None else self._database
            self._life = Life(self.surroundings, self.clock, self._database, self._plan)
            await self._life.start()

        return self._life


def _described(task: asyncio.Task[Any]) -> str:
    """Return where a task stands, in the author's words as far as possible."""
    frames: list[str] = []
    coroutine: Any = task.get_coro()

    while coroutine is not None:
        code = getattr(coroutine, "cr_code", None)

        if code is not None:
            frames.append(f"{code.co_name} at {code.co_filename}:{coroutine.cr_frame.f_lineno}")

        coroutine = getattr(coroutine, "cr_await", None)

    return " > ".join(frames) or repr(task)
