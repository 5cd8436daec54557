"""Compensation: undoing what a workflow has done when something fails behind it.

async with compensating(ctx) as undo:
    payment = await ctx.run(charge, order)
    undo.add(refund, payment)
    await ctx.run(ship, order)

A workflow is replayed whenever it goes on, so nothing may be undone when it is only suspended. It is suspended by a
`BaseException`, which is why `finally` is the wrong place for compensation.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Self

from resonate.error import PlatformError, Suspended

from orchestrator.durable.group_steps import GroupStep
from orchestrator.durable.steps import as_step
from orchestrator.errors import NotUndone

if TYPE_CHECKING:
    from types import TracebackType

    from orchestrator.durable.context import Context
    from orchestrator.durable.steps import Step


#: What leaves the code of a workflow that is suspended, or whose process ends. It goes on later.
_SIGNALS: Final = (Suspended, PlatformError, GeneratorExit)


class compensating:  # noqa: N801 - it is read as a keyword is
    """A block whose steps are undone when an exception leaves it: the last one first, each as a step.

    A step that undoes is tried again like every other step, and a cancel does not end it. If it fails for good, the
    others are undone all the same, and `NotUndone` says which were not. Otherwise the exception goes on as it was.

    Nothing is undone when the block ends by itself. Nothing is undone either when the workflow reaches its own timeout,
    because none of its code runs after that.
    """

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._undo: list[tuple[Step[..., Any] | GroupStep[..., Any], tuple[Any, ...], dict[str, Any]]] = []

    def add(self, step: Any, /, *args: Any, **kwargs: Any) -> None:
        """Have this step, or group step, run if the block fails. Call it right after the step that it undoes.

        Raises:
            Misused: this is not a step, or it does not take these arguments. What was added before is undone.
        """
        checked = step if isinstance(step, GroupStep) else as_step(step)
        checked.check_arguments(*args, **kwargs)
        self._undo.append((checked, args, kwargs))

    async def __aenter__(self) -> Self:
        """Return this, to `add` steps to."""
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Undo what was added if an exception leaves the block.

        Raises:
            NotUndone: a step failed for good; the exception is its cause.
        """
        if error is None or _goes_on(error) or self._ctx.changed is not None:
            return

        failed = []

        while self._undo:
            step, args, kwargs = self._undo.pop()

            try:
                if isinstance(step, GroupStep):
                    await self._ctx.shielded.call(step, *args, **kwargs)
                else:
                    await self._ctx.shielded.run(step, *args, **kwargs)
            except Exception as fault:  # noqa: BLE001 - whatever it is, the other steps are undone
                kind = getattr(fault, "kind", "") or type(fault).__name__
                failed.append(f"{step.name} failed with {kind}")

        if failed:
            raise NotUndone(failed) from error


def _goes_on(error: BaseException) -> bool:
    """Return whether the workflow is not over, although this leaves its code."""
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(_SIGNALS) is not None

    if isinstance(error, asyncio.CancelledError):
        # Its process stops, unless the code has raised this itself.
        task = asyncio.current_task()

        return task is None or task.cancelling() > 0

    return isinstance(error, _SIGNALS)
