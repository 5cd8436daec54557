"""Whether anything still goes on in a trial, or all of it waits for the clock or for the test.

A task of the event loop is at rest if it waits for another task, for the trial's clock, or for a lock or an event that
another task sets. It is busy if it may go on by itself: it is ready to run, or it waits for something else, such as a
write to the journal, a thread, a socket or a sleep in real time. A step may wait for these, so a trial waits with it.

What a task waits for is not public in asyncio: this is the only file that looks, and its tests pin it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio

from orchestrator import sdk_internals
from orchestrator.durable import body, turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextvars import Context

_ASYNCIO: Final = str(Path(asyncio.__file__).parent)
_ANYIO: Final = str(Path(anyio.__file__).parent)
_SDK: Final = str(sdk_internals.SDK_FOLDER)

#: Where code waits for what another task of the same process does: files of asyncio, with functions where only these.
_LOCKS: Final = (f"{_ASYNCIO}/locks.py", f"{_ASYNCIO}/queues.py", f"{_ASYNCIO}/taskgroups.py")
_WAIT: Final = (f"{_ASYNCIO}/tasks.py", "_wait")

#: Where a step or a wait is awaited, and where a workflow's own code is.
_STEP: Final = (sdk_internals.__file__, "__await__")
_BODY: Final = (body.__file__, turns.__file__)


def busy_task(
    tasks: Iterable[asyncio.Task[Any]], is_nap: Callable[[object], bool], *, ours: Callable[[Context], bool]
) -> asyncio.Task[Any] | None:
    """Return one of these tasks that is busy, or None if all are at rest.

    `ours` says whether a timer of the loop with this context is one of theirs: `asyncio.timeout` goes off by itself.
    """
    watched = list(tasks)

    for task in watched:
        if not task.done() and not _is_at_rest(task, is_nap):
            return task

    return watched[0] if watched and any(map(ours, _contexts_of_timers())) else None


def _contexts_of_timers() -> Iterator[Context]:
    for timer in getattr(asyncio.get_running_loop(), "_scheduled", ()):
        context: Context | None = getattr(timer, "_context", None)

        if context is not None and not timer.cancelled():
            yield context


def _is_at_rest(task: asyncio.Task[Any], is_nap: Callable[[object], bool]) -> bool:
    awaited: Any = getattr(task, "_fut_waiter", None)

    if awaited is None or awaited.done():
        return False

    if isinstance(awaited, turns.Held):
        return awaited.waits_for_others

    if isinstance(awaited, asyncio.Task) or hasattr(awaited, "_children") or is_nap(awaited):
        return True

    return _waits_inside(_innermost(task.get_coro()))


def _innermost(coroutine: Any) -> Any:
    """Return the coroutine or generator at the end of this chain of awaits."""
    while True:
        awaited = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)

        if not (hasattr(awaited, "cr_frame") or hasattr(awaited, "gi_frame")):
            return coroutine

        coroutine = awaited


def _waits_inside(coroutine: Any) -> bool:
    code = getattr(coroutine, "cr_code", None) or getattr(coroutine, "gi_code", None)
    file, function = getattr(code, "co_filename", ""), getattr(code, "co_name", "")

    if file.startswith(_ANYIO):
        # The end of a task group waits for its tasks; everything else here is a thread, a socket or a process.
        return bool(function == "__aexit__")

    if file in _BODY:
        # With no step under way, the code is about to be suspended, or told that it awaits something foreign.
        frame = getattr(coroutine, "cr_frame", None) or coroutine.gi_frame
        waiter: body.Body | turns.Turns = frame.f_locals["self"]

        return (waiter.under_way if isinstance(waiter, body.Body) else waiter).has_others

    return file in _LOCKS or (file, function) in {_WAIT, _STEP} or file.startswith(_SDK)
