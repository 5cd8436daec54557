"""Running a workflow's own code, and noticing when it waits for something that is not on record.

Such code may wait only for its steps and waits, because only these are found again in a replay. What else it awaits, a
sleep or a request say, would be waited for anew in every replay. It is noticed here when none of the workflow's steps
is under way and the code goes on waiting. Suspending raises an exception through that code, which it must let through.

What is over at once cannot be noticed, nor can a clock that is read, a random number or a file.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from resonate.error import PlatformError, Suspended

from orchestrator.durable.calls import shown
from orchestrator.durable.turns import TURNS
from orchestrator.durable.under_way import SWALLOWED
from orchestrator.errors import Misused
from orchestrator.text.crashes import short_name

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator

    from orchestrator.durable.under_way import UnderWay

_FOREIGN: Final = (
    "the workflow's code awaits something that is neither a step nor a wait of ctx: do it in a step, "
    "and sleep with ctx.sleep"
)
_CANCELLED: Final = (
    "the workflow's code caught or raised a CancelledError, as asyncio.timeout does: "
    "give a step a timeout with @step(timeout=...), and a wait a deadline"
)


class Body:
    """A workflow's code as it runs. Awaiting it returns its result, or raises its error or what it did wrong."""

    def __init__(self, code: Coroutine[Any, Any, Any], under_way: UnderWay) -> None:
        self._code = code
        self.under_way = under_way
        self._fault: Misused | None = None
        #: Where the code waited before it went on.
        self._line: int | None = None

    def __await__(self) -> Generator[Any, None, Any]:
        """Run the code.

        Raises:
            Misused: it awaited something foreign, or kept the signal that suspends it; whatever it did about the error.
        """
        signal: BaseException | None = None

        while True:
            # A task group takes this signal back once its other tasks have ended.
            given = None if isinstance(signal, asyncio.CancelledError) and _of_a_task_group(self._code) else signal

            self._line = getattr(getattr(self._code, "cr_frame", None), "f_lineno", None)

            try:
                yielded = self._code.send(None) if signal is None else self._code.throw(signal)
            except StopIteration as end:
                self._check_end(given, None)

                return end.value
            except BaseException as error:
                self._check_end(given, error)
                raise

            self._check_going_on(given)
            signal = yield from self._until_over(yielded)

    def _until_over(self, yielded: Any) -> Generator[Any, None, BaseException | None]:
        """Wait for what the code waits for, and return what is to be raised in it."""
        if yielded is None:
            yield

            return None

        waiter = asyncio.get_running_loop().create_future()
        yielded.add_done_callback(partial(_over, waiter))
        self._watch(waiter)

        try:
            yield from waiter
        except asyncio.CancelledError as cancelled:
            if not _of_a_task_group(self._code) and self.under_way.kept.drop():
                # Suspended code has no timers, so those of code that waits in memory do nothing either.
                return (yield from self._until_over(yielded))

            return cancelled
        except Misused as fault:
            self._fault = fault
            yielded.cancel()

            return fault
        finally:
            self.under_way.when_idle(None)

        if not yielded.cancelled() and isinstance(yielded.exception(), Suspended):
            self.under_way.suspended()

        return Suspended() if _holds_suspension(yielded) else None

    def _watch(self, waiter: asyncio.Future[None], turns: int = TURNS) -> None:
        """End the waiter with an error when no step has been under way for so many turns of the loop."""
        if waiter.done():
            return

        if not self.under_way.idle:
            self.under_way.when_idle(lambda: self._watch(waiter))
        elif turns:
            asyncio.get_running_loop().call_soon(self._watch, waiter, turns - 1)
        else:
            waiter.set_exception(Misused(_FOREIGN))

    def _check_going_on(self, signal: BaseException | None) -> None:
        """Return if the code may wait again, after it was given this signal."""
        if isinstance(signal, asyncio.CancelledError):
            self._close()
            raise signal if _is_being_cancelled() else self._misused(_CANCELLED)

        if isinstance(signal, Suspended) or self.under_way.was_suspended():
            self._close()
            raise self._misused(SWALLOWED)

        if self._fault is not None and self.under_way.idle:
            # It may go on after the error only to compensate, in a step.
            self._close()
            raise self._fault

    def _check_end(self, signal: BaseException | None, error: BaseException | None) -> None:
        """Return if the code may have ended like this, with a result or with this error."""
        was_suspended = self.under_way.was_suspended() or isinstance(signal, Suspended)

        if isinstance(error, BaseExceptionGroup) and error.subgroup(Suspended) is not None:
            raise Suspended from None

        if was_suspended and not isinstance(error, Suspended):
            raise self._misused(SWALLOWED) from error

        if _is_being_cancelled():
            raise signal if isinstance(signal, asyncio.CancelledError) else asyncio.CancelledError

        if isinstance(signal, asyncio.CancelledError) or isinstance(error, asyncio.CancelledError):
            raise self._misused(_CANCELLED) from error

        if self._fault is not None and error is not self._fault:
            raise self._fault

        if error is not None and not isinstance(error, (Exception, SystemExit, Suspended, PlatformError)):
            # The worker would take it for its own end, or take up the workflow again and again.
            raise Misused(f"the workflow's code raised {short_name(type(error))}: raise WorkflowFailed") from error

    def _misused(self, text: str) -> Misused:
        """Return an error with this text and the line of the workflow where its code was given the signal."""
        code = getattr(self._code, "cr_code", None)

        return Misused(text if code is None or self._line is None else f"{text}{shown((code, self._line))}")

    def _close(self) -> None:
        """End the code, whatever it does about that: go on, or raise something, as a task group does."""
        with contextlib.suppress(BaseException):
            self._code.close()


def _over(waiter: asyncio.Future[None], awaited: asyncio.Future[Any]) -> None:
    """Tell the waiter that what the code awaits is over.

    Its error is retrieved here: the code does not get it if it is ended meanwhile, and the loop would then report it.
    """
    if not awaited.cancelled():
        awaited.exception()

    if not waiter.done():
        waiter.set_result(None)


def _holds_suspension(yielded: asyncio.Future[Any]) -> bool:
    """Return whether this is a `gather` that gives the signal as a result."""
    if yielded.cancelled() or yielded.exception() is not None:
        return False

    result = yielded.result()

    return isinstance(result, list) and any(isinstance(each, Suspended) for each in result)


def _of_a_task_group(code: Any) -> bool:
    """Return whether a task group of this code, which waits, has just cancelled it because one of its tasks failed."""
    while code is not None:
        frame = getattr(code, "cr_frame", None) or getattr(code, "gi_frame", None)

        for each in () if frame is None else frame.f_locals.values():
            if isinstance(each, asyncio.TaskGroup) and getattr(each, "_parent_cancel_requested", False):
                return True

        code = getattr(code, "cr_await", None) or getattr(code, "gi_yieldfrom", None)

    return False


def _is_being_cancelled() -> bool:
    return (task := asyncio.current_task()) is not None and task.cancelling() > 0
