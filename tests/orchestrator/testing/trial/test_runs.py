"""A run says what it waits for, or how it ended."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from orchestrator import Context, WorkflowFailed, open_callback, run_workflow, workflow
from orchestrator.testing import Trial, TrialError


class Nothing(BaseModel):
    """An input without fields."""


@workflow()
async def sleeping(ctx: Context, request: Nothing) -> str:
    await ctx.sleep(timedelta(days=1))

    return "rested"


@workflow()
async def failing(ctx: Context, request: Nothing) -> Any:
    return await ctx.run(fail)


async def fail(_: Context) -> None:
    raise TypeError("the card 4711 is unknown")


@workflow()
async def adding(ctx: Context, request: Nothing) -> None:
    raise ValueError("the card 4711 is unknown")


@workflow()
async def twice(ctx: Context, request: Nothing) -> None:
    await run_workflow(ctx, adding, Nothing())


@workflow()
async def waiting(ctx: Context, request: Nothing) -> str:
    return (await (await open_callback(ctx, "bank"))).kind


async def test_a_sleep_is_named_with_its_end() -> None:
    async with Trial(sleeping) as trial:
        run = await trial.start(sleeping, Nothing())

        with pytest.raises(TrialError, match=r"^sleeping\.trial-1 has not ended: it sleeps until .*trial\.advance"):
            await run.result()

        assert await run.state() == "running"
        assert [step.name for step in await run.steps()] == ["sleep"]


async def test_a_wait_is_named_with_the_way_to_answer_it() -> None:
    async with Trial(waiting) as trial:
        run = await trial.start(waiting, Nothing())

        with pytest.raises(TrialError, match=r"it waits for 'bank' until .*run\.waiting\('bank'\)\)\.succeed"):
            await run.result()

        with pytest.raises(TrialError, match="does not wait for 'shop': it waits for 'bank'"):
            await run.waiting("shop")


@workflow()
async def running_another(ctx: Context, request: Nothing) -> Any:
    return await run_workflow(ctx, waiting, Nothing())


async def test_a_workflow_that_it_runs_is_looked_into() -> None:
    async with Trial(running_another) as trial:
        run = await trial.start(running_another, Nothing())

        with pytest.raises(TrialError, match=r"it runs waiting\.trial-1\..*: it waits for 'bank'"):
            await run.result()

        assert any(step.child for step in await run.steps())
        await (await run.waiting("bank")).succeed()
        assert await run.result() == "succeeded"


async def test_of_a_run_that_is_over_the_end_is_named() -> None:
    async with Trial(sleeping, failing) as trial:
        good, bad = await trial.start(sleeping, Nothing()), await trial.start(failing, Nothing())
        await trial.advance(timedelta(days=2))

        with pytest.raises(TrialError, match='it ended succeeded with "rested"'):
            await good.waiting("bank")

        with pytest.raises(TrialError, match=r"it ended failed with .*TypeError"):
            await bad.waiting("bank")


async def test_a_failed_step_is_shown_with_its_own_text_which_the_api_does_not_show() -> None:
    async with Trial(failing) as trial:
        run = await trial.start(failing, Nothing())

        with pytest.raises(WorkflowFailed) as raised:
            await run.result()

    assert "4711" not in str(raised.value)
    assert raised.value.__notes__ == ["the step fail: TypeError: the card 4711 is unknown"]


async def test_an_error_of_the_code_is_shown_with_its_text_which_the_api_does_not_show() -> None:
    async with Trial(adding, twice) as trial:
        run = await trial.start(adding, Nothing())
        parent = await trial.start(twice, Nothing())

        with pytest.raises(WorkflowFailed) as raised:
            await run.result()

        with pytest.raises(WorkflowFailed) as of_the_parent:
            await parent.result()

    assert "4711" not in str(raised.value)
    assert raised.value.__notes__ == ["the code of adding.trial-1: ValueError: the card 4711 is unknown"]
    [child] = of_the_parent.value.__notes__
    assert child.startswith("the code of adding.trial-2.")
    assert child.endswith(": ValueError: the card 4711 is unknown")


async def test_a_run_that_was_never_started_is_named() -> None:
    async with Trial(sleeping) as trial:
        with pytest.raises(TrialError, match=r"sleeping\.a was not started"):
            await trial.run(sleeping, "a").result()
