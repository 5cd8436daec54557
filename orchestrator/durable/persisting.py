"""Waiting durably for an outside system that is unavailable. A wait holds nothing, and continues after a restart."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypedDict

from resonate.error import ApplicationError

from orchestrator.errors import WorkflowCancelled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orchestrator.durable.context import Context

FIRST_PAUSE: Final = 2.0
SLOWEST: Final = 300.0


class Tried(TypedDict):
    """The result of a step that an outside system may refuse: whether to try again, and why it is not done."""

    again: bool
    why: str | None


DONE: Final[Tried] = {"again": False, "why": None}


async def pause(ctx: Context, seconds: float) -> None:
    """Sleep durably. A cancel ends the sleep without an error; the workflow sees the cancel at its next wait."""
    with contextlib.suppress(ApplicationError, WorkflowCancelled):
        await ctx.shielded.sleep(timedelta(seconds=seconds))


async def persist(
    ctx: Context, step: Callable[..., Awaitable[Tried]], *args: Any, tries: int | None = None
) -> str | None:
    """Repeat a step, sleeping durably in between, until it is done, is refused or was tried `tries` times.

    Returns why it was given up, or None if it is done. Without `tries` it goes on until the step says to stop.
    """
    seconds = FIRST_PAUSE
    tried = await ctx.run(step, *args)
    times = 1

    while tried["again"] and times != tries:
        await pause(ctx, seconds)
        seconds = min(seconds * 2, SLOWEST)
        tried = await ctx.run(step, *args)
        times += 1

    why: str | None = tried["why"]

    return why
