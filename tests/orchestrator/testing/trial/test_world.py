"""The process of a trial may die at any moment, and its clock moves only by hand."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel

from orchestrator import Context, StepFailed, WorkflowFailed, open_callback, step, workflow
from orchestrator.testing import Trial, TrialError
from orchestrator.testing.trial import world


class Nothing(BaseModel):
    """An input without fields."""


class Diary:
    """What the steps did, whatever dies."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.blocked = asyncio.Event()


@workflow()
async def long(ctx: Context, request: Nothing) -> list[str]:
    """Make twenty changes, and a wait, a sleep and two steps at once."""
    found = [await ctx.run(note, f"step {number}") for number in range(7)]
    wait = await open_callback(ctx, "wait")
    answer = (await wait).value
    await ctx.sleep(timedelta(hours=1))
    both = await asyncio.gather(ctx.run(note, "left"), ctx.run(note, "right"))

    return [*found, answer, *both]


async def note(ctx: Context, text: str) -> str:
    ctx.get_dependency(Diary).lines.append(text)

    return text


RESULT = [*(f"step {number}" for number in range(7)), "yes", "left", "right"]


async def through(trial: Trial) -> Any:
    run = await trial.start(long, Nothing())
    await (await run.waiting("wait")).succeed("yes")
    await trial.advance(timedelta(hours=1))

    return await run.result()


async def test_a_crash_loses_what_is_in_memory_and_nothing_that_is_recorded() -> None:
    diary = Diary()

    async with Trial(long, dependencies=[diary]) as trial:
        run = await trial.start(long, Nothing())
        before = trial._world._life
        await trial.crash()
        assert trial._world._life is not before
        await (await run.waiting("wait")).succeed("yes")
        await trial.crash()
        await trial.advance(timedelta(minutes=30))
        await trial.crash()
        await trial.advance(timedelta(minutes=30))

        assert await run.result() == RESULT

    assert sorted(diary.lines) == sorted([*(f"step {number}" for number in range(7)), "left", "right"])


async def test_the_result_is_the_same_if_it_dies_before_and_after_every_change() -> None:
    diary = Diary()

    async with Trial(long, dependencies=[diary]) as plain:
        assert await through(plain) == RESULT

    once = len(diary.lines)

    async with Trial(long, dependencies=[diary], crash_everywhere=True) as trial:
        began = time.process_time()
        assert await through(trial) == RESULT
        assert trial._world.lives > 40
        assert time.process_time() - began < 20

    # At least once: a step whose result was not recorded is done again.
    assert len(diary.lines) - once > 2 * once - 1
    assert set(diary.lines[once:]) == set(diary.lines[:once])


async def test_a_step_under_way_ends_with_its_process() -> None:
    @workflow()
    async def stuck(ctx: Context, request: Nothing) -> Any:
        return await ctx.run(block)

    async def block(ctx: Context) -> str:
        diary = ctx.get_dependency(Diary)
        diary.lines.append("begun")
        await diary.blocked.wait()

        return "done"

    diary = Diary()

    async with Trial(stuck, dependencies=[diary]) as trial:
        run = await trial.start(stuck, Nothing())

        with pytest.raises(TrialError, match="its step 'block' goes on, and waits"):
            await run.result()

        await trial.crash()
        diary.blocked.set()
        assert await run.result() == "done"

    assert diary.lines == ["begun", "begun"]


async def test_what_waits_in_real_time_for_too_long_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "PATIENCE", 0.05)

    @workflow()
    async def slow(ctx: Context, request: Nothing) -> None:
        await ctx.run(doze)

    async def doze(_: Context) -> None:
        await asyncio.sleep(3600)

    async with Trial(slow) as trial:
        with pytest.raises(TrialError, match=r"something has gone on for 0.05 s of real time: .*doze at "):
            await trial.start(slow, Nothing())


async def test_the_clock_does_not_go_back() -> None:
    async with Trial(long) as trial:
        with pytest.raises(ValueError, match="does not go back"):
            await trial.advance(timedelta(seconds=-1))


async def test_the_clock_is_moved_by_a_timedelta_alone() -> None:
    async with Trial(long) as trial:
        with pytest.raises(TypeError, match=r"moved by a timedelta, such as timedelta\(hours=1\), not by 5"):
            await trial.advance(5)  # type: ignore[arg-type]


async def test_a_trial_works_inside_its_block_alone() -> None:
    trial = Trial(long, dependencies=[Diary()])

    with pytest.raises(TrialError, match="has not begun, or is over"):
        await trial.start(long, Nothing())

    async with trial:
        run = await trial.start(long, Nothing())
        wait = await run.waiting("wait")

    for use in (
        lambda: trial.start(long, Nothing()),
        lambda: trial.advance(timedelta(hours=1)),
        trial.crash,
        run.state,
        run.result,
        lambda: wait.succeed("yes"),
    ):
        with pytest.raises(TrialError, match="use it inside `async with Trial"):
            await use()


async def test_a_workflow_that_awaits_what_is_not_durable_is_told_so() -> None:
    @workflow()
    async def undurable(ctx: Context, request: Nothing) -> None:
        await asyncio.Event().wait()

    async with Trial(undurable) as trial:
        run = await trial.start(undurable, Nothing())

        with pytest.raises(WorkflowFailed, match="awaits something that is neither a step nor a wait of ctx"):
            await run.result()


async def test_the_time_limit_of_a_step_counts_the_real_time_that_it_waits_for_something_outside() -> None:
    @step(tries=1, timeout=0.01)
    async def dawdle(ctx: Context) -> None:
        await asyncio.sleep(3600)

    @workflow(name="slow")
    async def slow(ctx: Context, request: Nothing) -> str:
        try:
            await ctx.run(dawdle)
        except StepFailed as error:
            return error.kind

        return "in time"

    async with Trial(slow) as trial:
        run = await trial.start(slow, Nothing())

        assert await run.result() == "StepTimeout"


async def test_many_crashes_one_after_the_other_may_take_as_long_as_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial(long, dependencies=[Diary()], crash_everywhere=True)
    # Each life takes more than half of the patience.
    lives = trial._world
    monkeypatch.setattr(world, "time", SimpleNamespace(monotonic=lambda: lives.lives * (0.6 * world.PATIENCE)))

    async with trial:
        assert await through(trial) == RESULT
