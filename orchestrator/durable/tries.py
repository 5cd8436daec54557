"""Trying a step until it succeeds: the pauses, the time limit of a try, and a line of log for each try that failed.

The SDK retries without a word and knows no exception types, so it is told never to retry, and the tries are made here.
A log line and the store name the type of an error and the author's own line, and never the error's text.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from contextvars import Context
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from resonate.error import ApplicationError, PlatformError, Suspended

from orchestrator.durable.try_records import TryRecords
from orchestrator.engine import Engine
from orchestrator.errors import CodeChanged, CountersignError, Misused, NotJson, StepFailed, StepRefused, WorkflowEnded
from orchestrator.sdk_internals import is_workflow, keep_as_workflow, sleeper_of
from orchestrator.text.crashes import name_of_kind, own_places, short_name
from orchestrator.text.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from resonate.context import Context as SDKContext

    from orchestrator.durable.policy import Policy

logger = logging.getLogger(__name__)

#: The SDK's signals, which a workflow must get as they are.
_SIGNALS: Final = (Suspended, PlatformError)

#: Characters of an error's text that are kept.
_LONGEST_TEXT: Final = 10_000

#: Errors of ours that say themselves that retrying is pointless.
_FINAL: Final = (Misused, NotJson, StepRefused, WorkflowEnded)

#: Seconds that a try gets to end after it was cancelled at its time limit.
_GRACE: Final = 5.0


@dataclass(frozen=True, kw_only=True)
class FailedTry:
    """A try of a step that failed. `place` is the innermost line of the author's code, as `shop.py:12 in charge`.

    `pause` is the seconds until the next try, None if there is none.
    """

    workflow_id: str
    step_id: str
    step: str
    number: int
    tries: int
    kind: str
    place: str
    pause: float | None


@dataclass(frozen=True)
class TryWatch:
    """A dependency of a worker: `watch` is called with each failed try. It must not raise or take long."""

    watch: Callable[[FailedTry], None] | None = None


class StepTimeout(Exception):
    """A try took longer than its step allows. Not a TimeoutError, which the step's own code may raise."""


async def try_step(  # noqa: PLR0913 - one step, all of it named
    ctx: SDKContext,
    name: str,
    policy: Policy,
    body: Callable[..., Awaitable[Any]],
    call: Callable[[], Awaitable[Any]],
    *,
    recorded: bool = True,
    pause: Callable[[float], Awaitable[None]] | None = None,
) -> Any:
    """Return what `call` returns, after as many tries as the policy allows; raise the error of the last one.

    `body` is the author's function. A step that has used `ctx` itself for steps is not tried again, because what it
    began is on record. Without `recorded` the store gets nothing. `pause` sleeps so many seconds before another try.
    """
    tries = _Tries(ctx, name, policy, body, recorded=recorded)
    task = asyncio.current_task()

    while True:
        try:
            return await _limited(ctx, name, policy.timeout, call)
        except _SIGNALS:
            raise
        except CodeChanged:
            # The workflow goes on later, and this step with it.
            raise Suspended from None
        except BaseException as error:
            if _is_from_outside(error, task):
                raise

            failed = await tries.failed(error)

            if failed.pause is None:
                # The SDK would try it again.
                keep_as_workflow(ctx)
                raise _final(error, failed) from error

            await (pause or sleeper_of(ctx))(failed.pause)


class _Tries:
    """The tries of one step, counted on from those that an earlier process made."""

    def __init__(
        self, ctx: SDKContext, name: str, policy: Policy, body: Callable[..., Awaitable[Any]], *, recorded: bool
    ) -> None:
        self._ctx = ctx
        self._name = name
        self._policy = policy
        self._body = inspect.unwrap(body)
        engine = ctx.get_dependency(Engine)
        self._clock = engine.clock
        self._records = TryRecords(engine.promises, ctx.info.id if recorded else None, clock=engine.clock)

    async def failed(self, error: BaseException) -> FailedTry:
        """Log and record a try that failed with this error, and return it."""
        number = await self._records.next_number()
        at = int(self._clock() * 1000)
        pause = None if isinstance(error, _FINAL) or is_workflow(self._ctx) else self._policy.pause(number, error)

        if pause is not None and self._records.due is not None:
            pause = max(self._records.due - at, 0) / 1000

        failed = FailedTry(
            workflow_id=self._ctx.info.origin_id,
            step_id=self._ctx.info.id,
            step=self._name,
            number=number,
            tries=self._policy.tries,
            kind=name_of_kind(error).removeprefix("builtins."),
            place=self._place(error),
            pause=pause,
        )
        next_at = None if pause is None else at + int(pause * 1000)
        # Only these texts of ours quote nothing.
        told = str(error) if isinstance(error, Misused | NotJson) else failed.kind
        self._tell(failed, error, told, next_at)
        await self._records.add(number, at=at, error=f"{told} at {failed.place}", next_at=next_at)

        return failed

    def _tell(self, failed: FailedTry, error: BaseException, told: str, next_at: int | None) -> None:
        then = "it is not tried again"

        if failed.pause is not None and next_at is not None:
            then = f"the next try is in {failed.pause:g} s, at {rfc3339(next_at)}"

        logger.warning(
            "step %s of %s failed in try %d of %d: %s at %s; %s",
            failed.step,
            failed.workflow_id,
            failed.number,
            failed.tries,
            told,
            failed.place,
            then,
            extra={"fields": _fields_of(failed, next_at)},
        )

        if logger.isEnabledFor(logging.DEBUG):
            trace = " > ".join(f"{file}:{line} {function}" for file, line, function in own_places(error, self._home))
            logger.debug("step %s of %s: %s: %s", failed.step, failed.workflow_id, trace, failed.kind)

        watch = self._ctx.get_dependency(TryWatch).watch

        if watch is not None:
            watch(failed)

    @property
    def _home(self) -> str:
        code = getattr(self._body, "__code__", None) or getattr(type(self._body).__call__, "__code__", None)

        return getattr(code, "co_filename", "")

    def _place(self, error: BaseException) -> str:
        for file, line, function in reversed(own_places(error, self._home)):
            return f"{Path(file).name}:{line} in {function}"

        return f"{Path(self._home).name} in {self._name}"


async def _limited(ctx: SDKContext, name: str, seconds: float | None, call: Callable[[], Awaitable[Any]]) -> Any:
    """Await the call, for at most so many seconds; None is without a limit."""
    if seconds is None:
        return await call()

    # The pause is the SDK's, because its clock may be one that a test moves. That clock stands still while the step
    # waits for something outside, which takes real time: so this time counts too. No test waits for the timer itself.
    work, limit = asyncio.ensure_future(call()), asyncio.ensure_future(sleeper_of(ctx)(seconds))
    timer = asyncio.get_running_loop().call_later(seconds, limit.cancel, context=Context())

    try:
        await asyncio.wait((work, limit), return_when=asyncio.FIRST_COMPLETED)

        if not work.done():
            await _stop(ctx, name, seconds, work)
            raise StepTimeout(f"the step {name} took longer than {seconds:g} s")

        return await work
    finally:
        timer.cancel()
        work.cancel()
        limit.cancel()


async def _stop(ctx: SDKContext, name: str, seconds: float, work: asyncio.Future[Any]) -> None:
    """Cancel a try, and return once it has ended.

    Raises:
        Misused: it goes on all the same. Another try would run beside it.
    """
    work.cancel()
    grace = asyncio.ensure_future(sleeper_of(ctx)(_GRACE))
    await asyncio.wait((work, grace), return_when=asyncio.FIRST_COMPLETED)
    grace.cancel()

    if not work.done():
        work.add_done_callback(_ignore)
        raise Misused(f"the step {name} took longer than {seconds:g} s and did not stop when it was cancelled")

    _ignore(work)


def _ignore(work: asyncio.Future[Any]) -> None:
    """Retrieve the error of a try that was given up, so that the loop does not report it."""
    if not work.cancelled():
        work.exception()


def _is_from_outside(error: BaseException, task: asyncio.Task[Any] | None) -> bool:
    """Return whether this task is being stopped or closed, rather than the step's code having raised this."""
    if isinstance(error, GeneratorExit):
        return not _runs_here(task)

    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def _runs_here(task: asyncio.Task[Any] | None) -> bool:
    """Return whether the code that runs is this task's. A coroutine that is thrown away is closed by another's."""
    try:
        return asyncio.current_task() is task
    except RuntimeError:
        # No event loop runs any more.
        return False


def _final(error: BaseException, failed: FailedTry) -> Exception:
    """Return what the step ends with: our own errors as they are, all others as plain data with their place.

    `SystemExit` and its like would end more than the step.
    """
    if isinstance(error, CountersignError | ApplicationError):
        return error

    return StepFailed(text_of(error), kind=short_name(type(error)), where=f"{failed.step} at {failed.place}")


def text_of(error: BaseException) -> str:
    """Return an error's text as the store can hold it: without lone surrogates, and with 10,000 characters at most."""
    try:
        text = str(error)
    except Exception as failure:  # noqa: BLE001 - an author's own method
        return f"(its text cannot be read: {short_name(type(failure))})"

    if len(text) > _LONGEST_TEXT:
        text = f"{text[:_LONGEST_TEXT]}... ({len(text)} characters in all)"

    return text.encode(errors="backslashreplace").decode()


def _fields_of(failed: FailedTry, next_at: int | None) -> dict[str, object]:
    return {
        "event": "try-failed",
        "workflow": failed.workflow_id,
        "step": failed.step,
        "step_id": failed.step_id,
        "try": failed.number,
        "tries": failed.tries,
        "error": failed.kind,
        "place": failed.place,
        "next_at": None if next_at is None else rfc3339(next_at),
    }
