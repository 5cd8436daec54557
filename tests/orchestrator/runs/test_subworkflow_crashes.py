"""A parent and its sub-workflows, with a crash before and after every recorded change: one sub-workflow, one result."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from orchestrator import (
    Context,
    WorkflowCancelled,
    WorkflowFailed,
    compensating,
    open_callback,
    run_workflow,
    workflow,
)
from orchestrator.testing import Trial
from orchestrator.testing.trial.runs import Run


class Level(BaseModel):
    """How many levels are below."""

    below: int = 0


DONE: Counter[str] = Counter()


async def do(ctx: Context) -> str:
    DONE["done", ctx.info.origin_id] += 1  # type: ignore[index]
    return ctx.info.origin_id


async def undo(ctx: Context) -> None:
    DONE["undone", ctx.info.origin_id] += 1  # type: ignore[index]


@workflow()
async def level(ctx: Context, request: Level) -> Any:
    """Do something, and leave the rest to the level below; the lowest one waits for somebody."""
    async with compensating(ctx) as undone:
        own = await ctx.run(do)
        undone.add(undo)

        if request.below:
            return [own, *await run_workflow(ctx, level, Level(below=request.below - 1))]

        outcome = await (await open_callback(ctx, "answer", deadline=timedelta(days=3)))

        if outcome.kind == "cancelled":
            raise WorkflowCancelled("nobody answered")

        if not outcome.succeeded:
            raise WorkflowFailed(outcome.message)

        return [own, outcome.value]


@pytest.fixture(autouse=True)
def _nothing_done() -> None:
    DONE.clear()


async def lowest(trial: Trial, run: Run) -> Run:
    """Return the run at the end of the chain."""
    await trial._world.settle()

    while True:
        children = [step.child for step in await run.steps() if step.child is not None]

        if not children:
            return run

        run = Run(trial._world, str(children[0]), children[0].id)


def roots(what: str) -> int:
    return len([key for key in DONE if key[0] == what])


@pytest.mark.parametrize("everywhere", [False, True])
async def test_each_level_runs_once_and_the_result_comes_up(*, everywhere: bool) -> None:
    async with Trial(level, crash_everywhere=everywhere) as trial:
        run = await trial.start(level, Level(below=2), id="a")
        await (await (await lowest(trial, run)).waiting("answer")).succeed(7)
        *above, answer = await run.result()

        assert answer == 7
        assert above[0] == "level.a"
        assert (len(set(above)), roots("done"), roots("undone")) == (3, 3, 0)


@pytest.mark.parametrize("everywhere", [False, True])
async def test_a_failure_and_a_cancel_undo_every_level(*, everywhere: bool) -> None:
    async with Trial(level, crash_everywhere=everywhere) as trial:
        failing = await trial.start(level, Level(below=2), id="a")
        await (await (await lowest(trial, failing)).waiting("answer")).fail("no")
        cancelled = await trial.start(level, Level(below=2), id="b")
        await (await lowest(trial, cancelled)).waiting("answer")
        await cancelled.cancel()

        assert (await failing.state(), await cancelled.state()) == ("failed", "cancelled")
        assert (roots("done"), roots("undone")) == (6, 6)
