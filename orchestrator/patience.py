"""Waiting out an outside system that is away, durably: nothing is held meanwhile, and a restart goes on waiting."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from resonate.error import ApplicationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orchestrator.context import Context

FIRST_PAUSE: Final = 2.0
SLOWEST: Final = 300.0


async def pause(ctx: Context, seconds: float) -> None:
    """Sleep durably. A cancel cuts it short, silently: what the workflow waits for next says so."""
    with contextlib.suppress(ApplicationError):
        await ctx.sleep(timedelta(seconds=seconds))


async def until_done(ctx: Context, tries: int, step: Callable[..., Awaitable[bool]], *args: Any) -> None:
    """Repeat a step, sleeping durably in between, until it is done or was tried so often. Fails in neither case."""
    seconds = FIRST_PAUSE

    for _ in range(tries):
        if await ctx.run(step, *args):
            return

        await pause(ctx, seconds)
        seconds = min(seconds * 2, SLOWEST)
