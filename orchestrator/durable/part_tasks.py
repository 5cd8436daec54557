"""Which task of the event loop is which part of a function call's code, and which part has made it.

A task learns its maker from the context in which it runs, which the loop's task factory gives it: Python has no other
way to tell, since a task that makes others may have done nothing else yet.
"""

from __future__ import annotations

import asyncio
import weakref
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from orchestrator.sdk_internals import SDK_FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import CodeType

#: How asyncio names the coroutine by which `gather` awaits what is no coroutine, such as a single step or wait.
_PLAIN: Final = "_wrap_awaitable"

_PACKAGE: Final = Path(__file__).parents[1]

#: Where the coroutines are that the SDK, asyncio and this package make tasks of for themselves, and of these, where
#: those of an author are all the same.
_OURS: Final = tuple(f"{folder}/" for folder in (SDK_FOLDER, Path(asyncio.__file__).parent, _PACKAGE))
_AUTHORS: Final = f"{_PACKAGE}/workflows/"

#: The part that the current task is, or was made by.
_current: ContextVar[Part | None] = ContextVar("countersign_part", default=None)


class Call(Protocol):
    """A function call; `run_at_once` is whether tasks of its code run, or have run, beside its own."""

    run_at_once: bool


class Part:
    """A task of a call's code, or the call itself, and how much it has begun after its anchor.

    `maker` is the part whose code has made this one, None if the call itself has.
    """

    __slots__ = ("_task", "anchor", "begun", "call", "is_call", "is_plain", "maker")

    def __init__(self, call: Call, maker: Part | None, *, is_call: bool = False) -> None:
        self.call = call
        self.maker = maker
        self.is_call = is_call
        #: Whether it does nothing but await a single step or wait.
        self.is_plain = False
        #: What it has begun first, or the place that it has instead.
        self.anchor: str | None = None
        self.begun = 0
        self._task: Callable[[], asyncio.Task[Any] | None] | None = None

    def new(self) -> Part:
        """Return a part that this one makes."""
        return Part(self.call, None if self.is_call else self)

    def is_of(self, task: asyncio.Task[Any]) -> bool:
        """Return whether this is what the task is, in whose context it was found."""
        if self._task is None and not self.is_call:
            self._task = weakref.ref(task)
            self.is_plain = getattr(task.get_coro(), "__name__", "") == _PLAIN

        return self._task is not None and self._task() is task


class PartTaskFactory:
    """Makes the tasks of an event loop as it did `before`, and each that a function call's code makes a part of it."""

    def __init__(self, before: Any) -> None:
        self.before: Final = before

    def __call__(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **options: Any) -> Any:
        """Return a new task."""
        maker = _current.get()

        if maker is not None and options.get("context") is None:
            options["context"] = context = copy_context()
            context.run(_current.set, maker.new())

            if not maker.call.run_at_once and _is_authors(work):
                maker.call.run_at_once = True

        if self.before is not None:
            return self.before(loop, work, **options)

        return asyncio.Task(work, loop=loop, **options)


def _is_authors(work: Any) -> bool:
    """Return whether this is the coroutine of a function that an author has written."""
    code: CodeType | None = getattr(work, "cr_code", None)
    file = "" if code is None else code.co_filename

    return bool(file) and (file.startswith(_AUTHORS) or not file.startswith(_OURS))


def call_begins(call: Call) -> None:
    """Let the current task be that of a function call from now on."""
    _current.set(Part(call, None, is_call=True))
    loop = asyncio.get_running_loop()
    factory: Any = loop.get_task_factory()

    # That of a trial stands in front of this one if a worker had this one before.
    if not isinstance(factory, PartTaskFactory) and not isinstance(getattr(factory, "before", None), PartTaskFactory):
        loop.set_task_factory(PartTaskFactory(factory))


def part_of(task: asyncio.Task[Any], call: Call) -> Part:
    """Return what the current task, which is not that of the call itself, is in this call."""
    found = _current.get()

    if found is None or found.call is not call:
        # It was made elsewhere.
        part = Part(call, None)
    elif found.is_of(task):
        return found
    else:
        # Its maker has not used the loop's task factory, but `asyncio.Task` itself.
        part = found.new()

    part.is_of(task)
    _current.set(part)

    return part
