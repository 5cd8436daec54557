"""Waiting for the first of several waits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from resonate.error import Suspended

from orchestrator.durable.running_code import calling
from orchestrator.sdk_internals import id_of, task_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resonate.context import ResonateFuture


async def first_over(futures: Sequence[ResonateFuture[Any]]) -> None:
    """Return when at least one of these waits is over; suspend the workflow until then.

    Which ones are over may differ when the workflow is replayed. Find that out in a step, and decide by its result.
    """
    tasks = [task_of(future) for future in futures]
    await asyncio.wait(tasks)
    under_way = calling()

    # Each exception is retrieved, so that the loop does not report one that nobody awaits any more.
    waiting = [isinstance(task.exception(), Suspended) for task in tasks]
    answered = under_way is not None and any(id_of(future) in under_way.kept.answers for future in futures)

    if all(waiting) and not answered:
        if under_way is not None:
            # As for a single wait: whatever is known comes first.
            await under_way.suspending()

        await tasks[0]
