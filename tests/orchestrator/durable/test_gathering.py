"""Several things awaited at once: what is known reaches the code before it is suspended, so it never waits in vain."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel
from support.plant import pause, plant

from orchestrator import Context, StepFailed, WorkflowFailed, open_callback, step, workflow

if TYPE_CHECKING:
    from pathlib import Path


class How(BaseModel):
    """How the step and the wait are awaited together."""

    how: str
    seconds: float = 0.0


@step(tries=1)
async def breaks(_ctx: Context, seconds: float) -> None:
    """Fail after this time."""
    await pause(seconds)
    raise ValueError("broken")


@workflow()
async def together(ctx: Context, request: How) -> str:
    """Await an answer and a step that fails, both at once."""

    async def answer() -> Any:
        return await (await open_callback(ctx, "answer", deadline=timedelta(days=1)))

    async def work() -> None:
        await ctx.run(breaks, request.seconds)

    try:
        if request.how == "gather":
            await asyncio.gather(answer(), work())
        else:
            async with asyncio.TaskGroup() as group:
                group.create_task(answer())
                group.create_task(work())
    except (StepFailed, ExceptionGroup):
        raise WorkflowFailed("the step is broken") from None

    return "answered"


@pytest.mark.parametrize("seconds", [0.0, 0.3])
@pytest.mark.parametrize("how", ["gather", "group"])
async def test_a_step_that_fails_after_the_wait_beside_it_has_begun_ends_the_workflow(
    tmp_path: Path, engine_url: str, how: str, seconds: float
) -> None:
    async with plant(tmp_path, engine_url, together) as one:
        for number in range(4):
            await one.start(f"a{number}", how=how, seconds=seconds)

        for number in range(4):
            assert await one.ended(f"a{number}") == ("failed", {"message": "the step is broken"})


async def test_a_wait_beside_a_step_that_is_over_is_resumed(tmp_path: Path, engine_url: str) -> None:
    async with plant(tmp_path, engine_url, both) as one:
        await one.start("a", how="gather")
        await one.opened("both.a:2")
        await pause(0.2)
        await one.answer("both.a:2", json.dumps("yes"), name="answer")

        assert await one.ended("a") == ("succeeded", ["done", "yes"])


@step()
async def works(_ctx: Context) -> str:
    """Be done."""
    return "done"


@workflow()
async def both(ctx: Context, request: How) -> Any:
    """Return what a step and an answer give."""

    async def answer() -> Any:
        return (await (await open_callback(ctx, "answer", deadline=timedelta(days=1)))).result()

    assert request.how == "gather"

    return await asyncio.gather(ctx.run(works), answer())
