"""Waiting out an outside system that is away, durably: nothing is held meanwhile, and a restart goes on waiting."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypedDict

from resonate.error import ApplicationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orchestrator.durable.context import Context

FIRST_PAUSE: Final = 2.0
SLOWEST: Final = 300.0


class Tried(TypedDict):
    """What became of a step that an outside system may refuse: whether to try again, and why it is not done."""

    again: bool
    why: str | None


DONE: Final[Tried] = {"again": False, "why": None}


async def pause(ctx: Context, seconds: float) -> None:
    """Sleep durably. A cancel cuts it short, silently: what the workflow waits for next says so."""
    with contextlib.suppress(ApplicationError):
        await ctx.sleep(timedelta(seconds=seconds))


async def persist(
    ctx: Context, step: Callable[..., Awaitable[Tried]], *args: Any, tries: int | None = None
) -> str | None:
    """Repeat a step, sleeping durably in between, until it is done or refused, or was tried so often.

    Returns why it was given up, None where it is done. Without `tries` it goes on until the step itself says enough.
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
