"""What of a function call is under way in this process, and in which order its code learns of what is over."""

from __future__ import annotations

import asyncio
import enum
import heapq
import itertools
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

#: How many turns of the event loop the code may take to go on after its last step has ended, through `gather` say.
TURNS: Final = 30

#: How many it may take to come as far as its next step after one that is over. Parts take so many for each of them.
STEP_TURNS: Final = 12


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

    def __init__(self, turns: Turns, rank: Rank, order: tuple[Any, ...]) -> None:
        super().__init__()
        self.turns: Final = turns
        self.rank: Final = rank
        self.order: Final = order

    @property
    def waits_for_others(self) -> bool:
        """Whether this goes on only when other steps and waits are over, which may take any time."""
        return self.rank is not Rank.RECORDED and self.turns.has_others


class Turns:
    """The steps and waits of one function call that are under way, and the turns of those that are over."""

    def __init__(self) -> None:
        self._count = 0
        self._when_idle: Callable[[], None] | None = None
        self._held: list[Held] = []
        #: The steps that are over by the record, as a heap: their order, and a number that tells equal ones apart.
        self._recorded: list[tuple[tuple[Any, ...], int, Held]] = []
        self._numbers = itertools.count()
        self._spacing: Final = asyncio.Lock()
        #: How often the code was told that a step is over by the record.
        self._told = 0
        #: When the record of what was begun last is known. That of all before is known then, too.
        self._asked: asyncio.Future[None] | None = None
        self._watched: asyncio.Future[None] | None = None
        self._release: asyncio.Handle | None = None

    def add(self, task: asyncio.Future[Any], *, asked: asyncio.Future[None] | None = None) -> None:
        """Count this step or wait until it is over. Its record is known when `asked` is done."""
        self._count += 1
        task.add_done_callback(self._over)

        if asked is not None:
            self._asked = asked

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

    async def nothing_else(self) -> None:
        """Return when all else that was begun is over, and the code has taken that in."""
        await self._in_turn(Rank.LAST, ())

    def step_over(self, order: tuple[Any, ...], *, recorded: bool) -> Awaitable[None]:
        """Return what a step that is over is to await before its code learns of it.

        In a replay all steps that are on record are over at once, and the code must learn of them in the order in which
        they ended, which `order` sorts by: parts may share something, such as a queue, and the first failure counts.
        What has only ended now comes after all that.
        """
        return self._in_turn(Rank.RECORDED, order) if recorded or self._recorded else self.spaced()

    def over(self, order: tuple[Any, ...]) -> Awaitable[None]:
        """Return what a wait that is over is to await before its code learns of it; `order` is as for `step_over`."""
        return self._in_turn(Rank.OVER, order)

    async def spaced(self) -> None:
        """Return when the code may learn of something that is over and that nothing on record must come after.

        One comes after the other, so that for each the code has come as far as its next step before it learns of the
        next, as it does in a replay.
        """
        self._count += 1

        try:
            async with self._spacing:
                await self._told_nothing_for(STEP_TURNS)
        finally:
            self._over()

    async def _told_nothing_for(self, turns: int) -> None:
        told, quiet = self._told, 0

        while quiet < turns:
            await asyncio.sleep(0)
            quiet = quiet + 1 if told == self._told else 0
            told = self._told

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
            self._told += 1
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
        while self._recorded:
            held = heapq.heappop(self._recorded)[2]

            if not held.done():
                held.set_result(None)
                return

    def _release_held(self) -> None:
        first = min(held.rank for held in self._held)
        released = sorted((held for held in self._held if held.rank is first), key=lambda held: held.order)
        self._held = [held for held in self._held if held.rank is not first]

        for held in released:
            if not held.done():
                held.set_result(None)

    def _over(self, _: asyncio.Future[Any] | None = None) -> None:
        self._count -= 1

        if self._held or self._recorded:
            self._release_later()
        elif self._count == 0 and self._when_idle is not None:
            action, self._when_idle = self._when_idle, None
            action()
