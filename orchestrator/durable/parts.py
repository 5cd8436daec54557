"""Where things are recorded that several parts of a workflow's code begin at once, under `asyncio.gather` say.

A workflow's steps and waits are numbered in the order in which its code asks for them. Parts that run at once ask in an
order that depends on how long each step takes and who answers first, and a replay, which finds everything over, asks in
another one. By that order alone, a part would be given what another one has on record.

So what a part begins is numbered by itself, below the first thing that it has begun: after the wait `root:2`, a part
begins `root:2.0.1`, `root:2.0.2`. That first thing is numbered with what the part's maker begins, because the parts of
a `gather` all come that far in the order in which they were made. A part that first awaits something, begins something
that is not recorded, or makes parts that do so, takes a number at that moment in the same way, and what it begins is
numbered below that. A small promise keeps such a place: a walk of the steps counts on finding no number missing.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING, Any, Final

from resonate.ids import join_id

from orchestrator.durable.part_tasks import call_begins, part_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestrator.durable.part_tasks import Part

#: The segment of an id that separates what a part begins from what it is numbered below. No number is 0.
BELOW: Final = "0"


class Parts:
    """The parts of the code of one function call, the current task's. What is begun where is decided here, at once.

    `following` numbers something with what the call itself begins.
    """

    def __init__(self) -> None:
        # The task's context refers to this.
        self._caller = _task()
        #: The places that parts have taken in which nothing of theirs is recorded, until somebody takes them from here.
        self._kept: list[str] = []
        #: Whether tasks of the code run, or have run, beside the one that runs this call.
        self.run_at_once = False
        call_begins(self)

    def place(self, following: Callable[[], str]) -> str:
        """Return the id of what the current task begins."""
        part = self._own()

        if part is None:
            return following()

        if part.anchor is None:
            part.anchor = self._next_of(part.maker, following)

            return part.anchor

        return _below(part)

    def keep_place(self, following: Callable[[], str]) -> None:
        """Take note that the current task awaits something, or begins something that is not recorded."""
        part = self._own()

        if part is not None:
            self._keep_place(part.maker if part.is_plain else part, following)

    def take_kept(self) -> Sequence[str]:
        """Return, once, the places that parts have taken in which nothing of theirs is recorded."""
        if not self._kept:
            return ()

        kept, self._kept = self._kept, []

        return kept

    def _keep_place(self, part: Part | None, following: Callable[[], str]) -> None:
        if part is not None and part.anchor is None:
            part.anchor = self._next_of(part.maker, following)
            self._kept.append(part.anchor)

    def _next_of(self, maker: Part | None, following: Callable[[], str]) -> str:
        """Return the number of what a part or, if None, the call itself begins next."""
        if maker is None:
            return following()

        self._keep_place(maker, following)

        return _below(maker)

    def _own(self) -> Part | None:
        """Return the part that is the current task, None for the task of the call itself."""
        task = asyncio.current_task()

        return None if task is None or task is self._caller() else part_of(task, self)


def _below(part: Part) -> str:
    part.begun += 1

    return join_id(str(part.anchor), f"{BELOW}.{part.begun}")


def is_of_part(promise_id: str) -> bool:
    """Return whether a part of a workflow's code has begun this, after it had begun or awaited something else."""
    return f".{BELOW}." in promise_id.partition(":")[2]


def depth_of(promise_id: str) -> int:
    """Return how many steps run what this is. What a part has begun after something else is beside that, not in it."""
    path = promise_id.partition(":")[2]

    return path.count(".") - 2 * path.count(f".{BELOW}.")


def order_of(promise_id: str) -> tuple[int, ...]:
    """Return what sorts steps and waits of one workflow as their numbers do."""
    return tuple(int(number) for number in promise_id.partition(":")[2].split(".") if number)


def marker_of(root_id: str) -> str:
    """Return the id of the promise that says that parts have begun something below this root."""
    return join_id(root_id, BELOW)


def _task() -> Callable[[], asyncio.Task[Any] | None]:
    task = asyncio.current_task()

    return (lambda: None) if task is None else weakref.ref(task)
