"""Several things awaited at once: what is known reaches the code before it is suspended, so it never waits in vain."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel
from support.plant import pause, plant

from orchestrator import (
    Address,
    Context,
    Question,
    StepFailed,
    WorkflowFailed,
    ask_people,
    compensating,
    open_callback,
    run_job,
    run_workflow,
    step,
    workflow,
)
from orchestrator.errors import EngineUnavailable
from orchestrator.testing import Trial

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


@step(tries=1)
async def breaks_otherwise(_ctx: Context, seconds: float) -> None:
    """Fail after this time in another way."""
    await pause(seconds)
    raise KeyError("broken")


@step
async def repairs(_ctx: Context, kind: str) -> str:
    """Return what was broken."""
    return kind


@step(name="replaces")
async def replaces(_ctx: Context, kind: str) -> str:
    """Return what was broken."""
    return kind


@workflow()
async def broken_twice(ctx: Context, request: How) -> str:
    """Do something about the first failure of two, and sleep: a replay finds both steps over."""
    done = "nothing"

    try:
        await asyncio.gather(ctx.run(breaks, request.seconds), ctx.run(breaks_otherwise, 0))
    except StepFailed as error:
        done = await ctx.run(repairs if error.kind == "ValueError" else replaces, error.kind)

    await ctx.sleep(timedelta(seconds=0.2))

    return done


async def test_a_replay_learns_first_of_the_step_that_failed_first(tmp_path: Path, engine_url: str) -> None:
    async with plant(tmp_path, engine_url, broken_twice) as one:
        await one.start("a", how="gather", seconds=0.2)

        assert await one.ended("a") == ("succeeded", "KeyError")


@workflow()
async def sleeps(ctx: Context, request: How) -> None:
    """Sleep for a day."""
    assert request.how
    await ctx.sleep(timedelta(days=1))


@workflow()
async def broken_beside_another(ctx: Context, request: How) -> None:
    """Run another workflow, and fail beside it: the other one is cancelled then."""
    await asyncio.gather(run_workflow(ctx, sleeps, request), ctx.run(breaks, request.seconds))


@pytest.mark.parametrize("everywhere", [False, True])
async def test_a_workflow_that_fails_beside_another_has_failed_after_it_has_cancelled_that(
    everywhere: bool,  # noqa: FBT001
) -> None:
    async with Trial(broken_beside_another, sleeps, crash_everywhere=everywhere) as trial:
        run = await trial.start(broken_beside_another, How(how="gather"))
        await trial.advance(timedelta(seconds=3))

        assert await run.state() == "failed"


@workflow()
async def broken_beside_waits(ctx: Context, request: How) -> None:
    """Fail while two waits are open, which are withdrawn then, and undo something."""
    async with compensating(ctx) as undo:
        undo.add(undoes)
        answers = [await open_callback(ctx, f"{request.how}-{number}") for number in (1, 2)]
        await asyncio.gather(*answers, ctx.run(breaks, request.seconds))


@step
async def undoes(_ctx: Context) -> None:
    """Fail in the first try."""
    if not UNDONE:
        UNDONE.append("tried")
        raise OSError("not now")


@workflow()
async def broken_beside_people(ctx: Context, request: How) -> None:
    """Fail while people are asked, and while a job of another part runs."""
    await asyncio.gather(
        run_job(ctx, "job", 7, answer="run"),
        ask_people(ctx, "ask", Question(title="Really?"), ["ada@example.org", "bob@example.org"], need="all"),
        ctx.run(breaks, request.seconds),
    )


@pytest.mark.parametrize("seconds", [0.0, 0.2])
async def test_a_step_that_fails_while_people_are_asked_ends_the_workflow(seconds: float) -> None:
    async with Trial(broken_beside_people) as trial:
        run = await trial.start(broken_beside_people, How(how="gather", seconds=seconds))
        await trial.advance(timedelta(seconds=10))

        assert await run.state() == "failed"
        assert {each.state for each in await run.steps() if each.waits} == {"cancelled"}


UNDONE: list[str] = []


async def test_a_crash_between_two_withdrawals_leaves_no_wait_open(monkeypatch: pytest.MonkeyPatch) -> None:
    UNDONE.append("tried")
    settle = Address.settle

    async def fails(address: Address, *args: Any, **how: Any) -> Any:
        if address.callback == "answer-2":
            raise EngineUnavailable("the engine is away")

        return await settle(address, *args, **how)

    async with Trial(broken_beside_waits) as trial:
        with monkeypatch.context() as meanwhile:
            meanwhile.setattr(Address, "settle", fails)
            run = await trial.start(broken_beside_waits, How(how="answer"))

        assert [each.state for each in await run.steps() if each.waits] == ["cancelled", "running"]
        await trial.crash()
        await trial.advance(timedelta(seconds=3))

        assert await run.state() == "failed"
        assert [each.state for each in await run.steps() if each.waits] == ["cancelled", "cancelled"]


async def test_a_trial_goes_on_while_code_beside_open_waits_pauses_between_two_tries() -> None:
    UNDONE.clear()

    async with Trial(broken_beside_waits) as trial:
        run = await trial.start(broken_beside_waits, How(how="answer"))
        assert await run.state() == "running"
        await trial.advance(timedelta(seconds=3))

        assert await run.state() == "failed"
