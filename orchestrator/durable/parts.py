"""Where things are recorded that several parts of a workflow's code begin at once, under `asyncio.gather` say.

A workflow's steps and waits are numbered in the order in which its code asks for them. Parts that run at once ask in an
order that depends on how long each step takes and who answers first, and a replay, which finds everything over, asks in
another one. By that order alone, a part would be given what another one has on record.

So what a part begins is numbered by itself, below the first thing that it has begun: after the wait `root:2`, a part
begins `root:2.0.1`, `root:2.0.2`. That first thing is numbered with what the part's maker begins, because the parts of
a `gather` all come that far in the order in which they were made. Where a part has awaited something before that, it is
numbered below that: for two parts that await the wait `root:2`, they are `root:2.0.1` and `root:2.0.2`, since what
several parts await is over for them in the order in which they have awaited it.
"""

from __future__ import annotations

import asyncio
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from resonate.ids import join_id

if TYPE_CHECKING:
    from collections.abc import Callable

#: The segment of an id that separates what a part begins from what it is numbered below. No number is 0.
BELOW: Final = "0"

#: How asyncio names the coroutine by which `gather` awaits what is no coroutine, such as a single step or wait.
_PLAIN: Final = "_wrap_awaitable"

_current: ContextVar[_Part | None] = ContextVar("countersign_part", default=None)


class Parts:
    """The parts of the code of one function call. What is begun where is decided here, synchronously."""

    def __init__(self) -> None:
        # The task's context refers to this.
        self._caller = _task()
        #: How many parts have begun something below what they awaited first.
        self._awaiting: dict[str, int] = {}
        #: What parts have begun first. Only these number below it.
        self._anchors: set[str] = set()

    def place(self, following: Callable[[], str]) -> str:
        """Return the id of what the current task begins. `following` numbers it with what the call itself begins."""
        part = self._own()

        return following() if part is None else self._next(part, following)

    def place_unrecorded(self, following: Callable[[], str]) -> str | None:
        """Return the id that the current task begins with, which has begun something that is not recorded.

        None if it has begun something before, or is the task of the call itself. Without that place, the number of what
        it begins next would depend on how long the unrecorded step takes.
        """
        part = self._own()

        return self._next(part, following) if part is not None and part.anchor is None else None

    def awaits(self, promise_id: str) -> None:
        """Take note that the current task awaits this promise."""
        part = self._own()

        if part is None or part.is_plain:
            return

        if part.anchor is None and promise_id not in self._anchors:
            part.awaited = promise_id

    def _next(self, part: _Part, following: Callable[[], str]) -> str:
        if part.anchor is not None:
            part.begun += 1

            return join_id(part.anchor, f"{BELOW}.{part.begun}")

        part.anchor = self._first(part, following)
        self._anchors.add(part.anchor)

        return part.anchor

    def _first(self, part: _Part, following: Callable[[], str]) -> str:
        if part.awaited is None:
            return self._of_maker(part, following)

        number = self._awaiting[part.awaited] = self._awaiting.get(part.awaited, 0) + 1

        return join_id(part.awaited, f"{BELOW}.{number}")

    def _of_maker(self, part: _Part, following: Callable[[], str]) -> str:
        return following() if part.maker is None else self._next(part.maker, following)

    def _own(self) -> _Part | None:
        """Return the part that is the current task, None for the task of the call itself."""
        task = asyncio.current_task()

        if task is None or task is self._caller():
            return None

        found = _current.get()

        # A task inherits the variables of its maker, which is another part or none of this call.
        maker = found if found is not None and found.parts is self else None

        if maker is not None and maker.task() is task:
            return maker

        part = _Part(self, task, maker)
        _current.set(part)

        return part


class _Part:
    """A task of a call's code, and how much it has begun after its anchor."""

    __slots__ = ("anchor", "awaited", "begun", "is_plain", "maker", "parts", "task")

    def __init__(self, parts: Parts, task: asyncio.Task[Any], maker: _Part | None) -> None:
        self.parts = parts
        self.task = weakref.ref(task)
        self.maker = maker
        #: What it has begun first.
        self.anchor: str | None = None
        #: What it has awaited last before that.
        self.awaited: str | None = None
        self.begun = 0
        self.is_plain = getattr(task.get_coro(), "__name__", "") == _PLAIN


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
