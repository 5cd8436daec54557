"""What a function call has under way in this process, and what becomes of its code: may it go on, is it suspended."""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING, Any, Final

from orchestrator.durable.kept import Kept
from orchestrator.durable.turns import Turns
from orchestrator.errors import Misused

if TYPE_CHECKING:
    from collections.abc import Callable

SWALLOWED: Final = (
    "the workflow's code caught the signal that suspends it, with `except BaseException`, a bare `except` or an await "
    "in `finally`: write `except Exception`"
)

LATE: Final = "the workflow's code ended before a task that it had started: await each task, under `asyncio.gather` say"


class UnderWay(Turns):
    """What one function call has under way, whether its code may begin more, and whether a wait has suspended it."""

    def __init__(self) -> None:
        super().__init__()
        self._forbidden: str | None = None
        #: Whether the code has ended, and only the actions of its end still run.
        self.is_ending = False
        self._has_ended = False
        self._was_late = False
        self._suspended_in: asyncio.Task[Any] | None = None
        # The task's context refers to this.
        self._caller = weakref.ref(caller) if (caller := asyncio.current_task()) is not None else lambda: None
        self.kept: Final = Kept()

    def forbid(self, reason: str) -> None:
        """Let no step and no wait begin from now on."""
        self._forbidden = reason

    def end(self) -> None:
        """Let no other task of the code begin a step or a wait from now on."""
        self._has_ended = True

    async def goes_on(self, turns: int = 1) -> bool:
        """Return whether another task of the code, which has ended, began a step or a wait in so many turns."""
        for _ in range(turns):
            await asyncio.sleep(0)

        return self._was_late

    def begin_keeping(self, drop: Callable[[], None]) -> None:
        """Count that the code waits in memory until `end_keeping`. `drop` has it suspended."""
        self._count += 1
        self.kept.begin(drop)

    def end_keeping(self) -> None:
        """Count it no longer."""
        self.kept.end()
        self._over()

    def check(self) -> None:
        """Return if the code in the current task may begin a step or a wait.

        Raises:
            Misused: it was given the signal that suspends it, and goes on; or none may be begun here.
            CancelledError: the code has ended, and this is a task that it has not awaited.
        """
        if self._forbidden is not None:
            raise Misused(self._forbidden)

        if self._has_ended and asyncio.current_task() is not self._caller():
            self._was_late = True
            # The workflow's own error says it. Nobody awaits the task, so an error of it would only be noise.
            raise asyncio.CancelledError

        if self._suspended_in is not None and self._suspended_in is asyncio.current_task():
            raise Misused(SWALLOWED)

        # A replay would not get here before the wait is over.
        self.kept.drop()

    async def suspending(self) -> None:
        """Return when the code in the current task is to be given the signal that suspends it, and note that it is.

        Under `asyncio.gather` say, what is known comes first: the signal of one wait is held until all others are over
        and the code has taken that in. Else the code would suspend although a step has failed, and never learn of it.
        Code that waits in memory is suspended first, because it would not learn that this wait is over.
        """
        self.kept.drop()

        if not self.is_alone:
            await self.nothing_else()

        self.suspended()

    @property
    def is_alone(self) -> bool:
        """Whether the current task is the one that runs this call, so that nothing in its code runs beside it."""
        return asyncio.current_task() is self._caller()

    def suspended(self) -> None:
        """Note that the code in the current task was given the signal that suspends it."""
        self._suspended_in = asyncio.current_task()

    def was_suspended(self) -> bool:
        """Return, once, whether the code in the current task was given that signal."""
        found, self._suspended_in = self._suspended_in, None

        return found is not None and found is asyncio.current_task()
