"""The steps and waits of a function call that are under way in this process, and the signal that suspends its code."""

from __future__ import annotations

import asyncio
import enum
import heapq
import itertools
import weakref
from typing import TYPE_CHECKING, Any, Final

from orchestrator.durable.kept import Kept
from orchestrator.errors import Misused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

#: How many turns of the event loop the code may take to go on after its last step has ended, through `gather` say.
TURNS: Final = 30

#: How many it may take after a step that is over by the record. A replay takes so many for each of them.
STEP_TURNS: Final = 12

SWALLOWED: Final = (
    "the workflow's code caught the signal that suspends it, with `except BaseException`, a bare `except` or an await "
    "in `finally`: write `except Exception`"
)

LATE: Final = "the workflow's code ended before a task that it had started: await each task, under `asyncio.gather` say"


class Rank(enum.IntEnum):
    """What comes first."""

    #: A step is over by the record. Those come one at a time, in the order in which they ended.
    RECORDED = 0
    #: A wait is over. Whoever saw it open saw everything else that is on record by now.
    OVER = 1
    #: A wait is open, or the workflow itself has ended it.
    LAST = 2


class Held(asyncio.Future[None]):
    """What a task of the code awaits until it may go on."""

    def __init__(self, under_way: UnderWay, rank: Rank, order: tuple[Any, ...]) -> None:
        super().__init__()
        self.under_way: Final = under_way
        self.rank: Final = rank
        self.order: Final = order

    @property
    def waits_for_others(self) -> bool:
        """Whether this goes on only when other steps and waits are over, which may take any time."""
        return self.rank is not Rank.RECORDED and self.under_way.has_others


class UnderWay:
    """The steps and waits of one function call that are under way in this process, and whether one has suspended it."""

    def __init__(self) -> None:
        self._count = 0
        self._forbidden: str | None = None
        #: Whether the code has ended, and only the actions of its end still run.
        self.is_ending = False
        self._has_ended = False
        self._was_late = False
        self._when_idle: Callable[[], None] | None = None
        self._suspended_in: asyncio.Task[Any] | None = None
        # The task's context refers to this.
        self._caller = weakref.ref(caller) if (caller := asyncio.current_task()) is not None else lambda: None
        #: Whether tasks of the code have run beside the one that runs this call.
        self.has_parts = False
        self.kept: Final = Kept()
        self._held: list[Held] = []
        #: The steps that are over by the record, as a heap: their order, and a number that tells equal ones apart.
        self._recorded: list[tuple[tuple[Any, ...], int, Held]] = []
        self._numbers = itertools.count()
        #: When the record of what was begun last is known. That of all before is known then, too.
        self._asked: asyncio.Future[None] | None = None
        self._watched: asyncio.Future[None] | None = None
        self._release: asyncio.Handle | None = None

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

    def add(self, task: asyncio.Future[Any], *, asked: asyncio.Future[None] | None = None) -> None:
        """Count this step or wait until it is over. Its record is known when `asked` is done."""
        self._count += 1
        task.add_done_callback(self._over)

        if asked is not None:
            self._asked = asked

    def begin_keeping(self, drop: Callable[[], None]) -> None:
        """Count that the code waits in memory until `end_keeping`. `drop` has it suspended."""
        self._count += 1
        self.kept.begin(drop)

    def end_keeping(self) -> None:
        """Count it no longer."""
        self.kept.end()
        self._over()

    @property
    def idle(self) -> bool:
        """Whether none is under way, and nothing is held until none is."""
        return self._count == 0

    @property
    def has_others(self) -> bool:
        """Whether a step or a wait is under way besides what is held until none is."""
        return self._count > bool(self._held or self._recorded)

    def when_idle(self, action: Callable[[], None] | None) -> None:
        """Call `action` once when none is under way any more, instead of what was to be called before."""
        self._when_idle = action

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

    async def nothing_else(self) -> None:
        """Return when all else that was begun is over, and the code has taken that in."""
        await self._in_turn(Rank.LAST, ())

    @property
    def is_alone(self) -> bool:
        """Whether the current task is the one that runs this call, so that nothing in its code runs beside it."""
        return asyncio.current_task() is self._caller()

    def step_over(self, order: tuple[Any, ...], *, recorded: bool) -> Awaitable[None] | None:
        """Return what a step that is over is to await before its code learns of it, None if it need not await anything.

        In a replay all steps that are on record are over at once, and the code must learn of them in the order in which
        they ended, which `order` sorts by: parts may share something, such as a queue, and the first failure counts.
        What has only ended now comes after all that.
        """
        return self._in_turn(Rank.RECORDED, order) if recorded or self._recorded else None

    def over(self, order: tuple[Any, ...]) -> Awaitable[None]:
        """Return what a wait that is over is to await before its code learns of it; `order` is as for `step_over`."""
        return self._in_turn(Rank.OVER, order)

    async def _in_turn(self, rank: Rank, order: tuple[Any, ...]) -> None:
        held = Held(self, rank, order)

        if not (self._held or self._recorded):
            self._count += 1

        if rank is Rank.RECORDED:
            heapq.heappush(self._recorded, (order, next(self._numbers), held))
        else:
            self._held.append(held)

        if self._release is None:
            self._release_later()

        await held

    def _release_later(self) -> None:
        self._release_after(STEP_TURNS if self._recorded else TURNS)

    def _release_after(self, turns: int) -> None:
        """Release what comes first when nothing that must come before has happened for so many turns of the loop."""
        if self._release is not None:
            self._release.cancel()
            self._release = None

        if self._must_wait():
            return

        if turns:
            self._release = asyncio.get_running_loop().call_soon(self._release_after, turns - 1)
            return

        if self._recorded:
            self._release_recorded()
        else:
            self._release_held()

        if self._held or self._recorded:
            self._release_later()
        else:
            self._over()

    def _must_wait(self) -> bool:
        """Return whether nothing is to be released now, because this is called again later."""
        if not self._recorded:
            return self.has_others

        if self._asked is None or self._asked.done():
            return False

        if self._watched is not self._asked:
            self._watched = self._asked
            self._watched.add_done_callback(self._known)

        return True

    def _known(self, _: asyncio.Future[None]) -> None:
        if self._recorded:
            self._release_later()

    def _release_recorded(self) -> None:
        first = self._recorded[0][0]

        # Several tasks may await the same step.
        while self._recorded and (self._recorded[0][0] == first or self._recorded[0][2].done()):
            _release(heapq.heappop(self._recorded)[2])

    def _release_held(self) -> None:
        first = min(held.rank for held in self._held)
        released = sorted((held for held in self._held if held.rank is first), key=lambda held: held.order)
        self._held = [held for held in self._held if held.rank is not first]

        for held in released:
            _release(held)

    def suspended(self) -> None:
        """Note that the code in the current task was given the signal that suspends it."""
        self._suspended_in = asyncio.current_task()

    def was_suspended(self) -> bool:
        """Return, once, whether the code in the current task was given that signal."""
        found, self._suspended_in = self._suspended_in, None

        return found is not None and found is asyncio.current_task()

    def _over(self, _: asyncio.Future[Any] | None = None) -> None:
        self._count -= 1

        if self._held or self._recorded:
            self._release_later()
        elif self._count == 0 and self._when_idle is not None:
            action, self._when_idle = self._when_idle, None
            action()


def _release(held: Held) -> None:
    if not held.done():
        held.set_result(None)
