"""Which tasks of the event loop belong to a process of a trial, the finished ones included.

A task belongs to the process in whose context it was made, so whatever the process starts belongs to it.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from orchestrator.durable.part_tasks import PartTaskFactory

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator
    from contextvars import Context

    type Work = Coroutine[Any, Any, Any] | Generator[Any, None, Any]

_members: ContextVar[Members | None] = ContextVar("countersign_trial_members", default=None)


class Members:
    """The tasks of one process. `close` when it is over."""

    def __init__(self) -> None:
        self._all: Final[WeakSet[asyncio.Task[Any]]] = WeakSet()
        # The others may be very many by the time they are collected as garbage.
        self._open: Final[set[asyncio.Task[Any]]] = set()
        self._context = copy_context()
        self._context.run(_members.set, self)
        self._loop = asyncio.get_running_loop()
        self._tracking = _tracking_of(self._loop)
        self._tracking.users += 1

    def spawn[T](self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Do this work as a member."""
        return self._loop.create_task(work, context=self._context.copy())

    def own(self, context: Context) -> bool:
        """Return whether this is the context of a member, or of what a member has set up."""
        return context.get(_members) is self

    def unfinished(self) -> list[asyncio.Task[Any]]:
        """Return the members that have not ended."""
        return [task for task in self._open if not task.done()]

    def add(self, task: asyncio.Task[Any]) -> None:
        """Make this task a member."""
        self._all.add(task)
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    def close(self) -> None:
        """Retrieve what the members have raised, so that the loop does not report it: nobody awaits them any more."""
        for task in self._all:
            if task.done() and not task.cancelled():
                task.exception()

        self._tracking.users -= 1

        if not self._tracking.users and _without_parts(self._loop) is self._tracking:
            self._loop.set_task_factory(self._tracking.before)


class _Tracking:
    """A task factory that adds tasks to the process in whose context they are made."""

    def __init__(self, before: Any) -> None:
        self.before = before
        self.users = 0

    def __call__(self, loop: asyncio.AbstractEventLoop, work: Work, **options: Any) -> asyncio.Task[Any]:
        """Return a new task."""
        make = self.before if self.before is not None else _task
        task: asyncio.Task[Any] = make(loop, work, **options)
        context = options.get("context")
        members = _members.get() if context is None else context.get(_members)

        if members is not None:
            members.add(task)

        return task


def _tracking_of(loop: asyncio.AbstractEventLoop) -> _Tracking:
    """Return the factory of this loop that tracks; the loop has one from now on."""
    current = _without_parts(loop)

    if isinstance(current, _Tracking):
        return current

    tracking = _Tracking(loop.get_task_factory())
    loop.set_task_factory(tracking)

    return tracking


def _without_parts(loop: asyncio.AbstractEventLoop) -> Any:
    """Return the loop's task factory, or the one behind it if the workflows of a trial have put theirs in front."""
    current = loop.get_task_factory()

    return current.before if isinstance(current, PartTaskFactory) else current


def _task(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
    return asyncio.Task(work, loop=loop, **options)
