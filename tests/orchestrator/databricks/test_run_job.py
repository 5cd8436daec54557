"""`run_job` in workflows of one's own: several at once, below other workflows, caught, left alone, and cancelled."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel
from support.plant import plant

from orchestrator import (
    Context,
    JobFailed,
    JobResult,
    WorkflowCancelled,
    WorkflowExpired,
    WorkflowFailed,
    run_job,
    run_workflow,
    step,
    workflow,
)
from orchestrator.runs.cancellation import request_cancel
from orchestrator.runs.children import child_of
from orchestrator.testing import Trial
from orchestrator.testing.emulator.workspace import Fault, Job

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchestrator.testing import Run

BOTH = pytest.mark.parametrize("everywhere", [False, True])
LOAD, CHECK = 7, 8


class Night(BaseModel):
    """Which jobs to run, by the names of their steps, and how."""

    jobs: dict[str, int] = {"load": LOAD}
    how: str = "gather"
    attempts: int = 1
    deadline: float = 600


@workflow()
async def night(ctx: Context, request: Night) -> Any:
    """Run some jobs at once."""
    started = [
        run_job(ctx, name, job_id, attempts=request.attempts, deadline=request.deadline, watch_interval=1)
        for name, job_id in request.jobs.items()
    ]

    if request.how == "gather":
        return [shown(one) for one in await asyncio.gather(*started)]

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in started]
    except* JobFailed as failures:
        raise failures.exceptions[0] from None

    return [shown(task.result()) for task in tasks]


def shown(one: JobResult) -> list[Any]:
    return [one.result, one.attempt, one.answered_by]


@workflow()
async def week(ctx: Context, request: Night) -> Any:
    """Run the jobs of a night as a sub-workflow."""
    return await run_workflow(ctx, night, request)


@workflow()
async def twice(ctx: Context, request: Night) -> Any:
    """Run a job one time after another under the same name."""
    first = await run_job(ctx, "load", LOAD, deadline=request.deadline)
    second = await run_job(ctx, "load", LOAD, parameters={"after": str(first.run_id)})

    return [first.result, second.result]


@step(tries=1)
async def breaks(_ctx: Context) -> None:
    raise ValueError("broken")


@workflow()
async def beside(ctx: Context, request: Night) -> Any:
    """Run a job and a step that fails, both at once."""
    await asyncio.gather(run_job(ctx, "load", LOAD, deadline=request.deadline), ctx.run(breaks))


@workflow()
async def forgiving(ctx: Context, request: Night) -> Any:
    """Make do with what is known if the job does not succeed."""
    try:
        return (await run_job(ctx, "load", LOAD, deadline=request.deadline)).result
    except JobFailed as failure:
        return [failure.outcome, failure.message, failure.details, failure.run_id]


def by_job(trial: Trial) -> Mapping[int, Any]:
    return {run.job_id: run for run in trial.jobs.runs}


async def failed(run: Run, kind: type[WorkflowFailed | WorkflowExpired | WorkflowCancelled]) -> dict[str, Any]:
    with pytest.raises(kind) as raised:
        await run.result()

    return raised.value.error


@BOTH
@pytest.mark.parametrize("how", ["gather", "group"])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
async def test_several_jobs_run_at_once_in_whichever_order_they_end(
    order: tuple[int, ...],
    how: str,
    everywhere: bool,  # noqa: FBT001
) -> None:
    names = ["load", "check", "load-again"]

    async with Trial(night, crash_everywhere=everywhere) as trial:
        run = await trial.start(night, Night(jobs={name: number for number, name in enumerate(names, 1)}, how=how))
        assert sorted(job.job_id for job in trial.jobs.runs) == [1, 2, 3]

        for place in order:
            await (await run.waiting(f"{names[place]}-1")).succeed(place)

        assert await run.result() == [[place, 1, "callback"] for place in range(3)]
        assert len(trial.jobs.runs) == 3


@BOTH
async def test_one_job_is_tried_again_while_the_other_goes_on(everywhere: bool) -> None:  # noqa: FBT001
    async with Trial(night, crash_everywhere=everywhere) as trial:
        run = await trial.start(night, Night(jobs={"load": LOAD, "check": CHECK}, attempts=3))
        await (await run.waiting("load-1")).fail("no input")
        await trial.advance(timedelta(seconds=2))
        trial.jobs.die(trial.jobs.runs[-1].run_id)
        await trial.advance(timedelta(seconds=6))
        await (await run.waiting("check-1")).succeed("fine")
        await (await run.waiting("load-3")).succeed("at last")

        assert await run.result() == [["at last", 3, "callback"], ["fine", 1, "callback"]]
        assert [job.job_id for job in trial.jobs.runs].count(LOAD) == 3


async def test_each_run_has_its_own_token_and_a_lost_reply_to_its_trigger_starts_no_second_one() -> None:
    async with Trial(night) as trial:
        trial.jobs.workspace.fail_next(Fault(kind="lost", count=3))
        await trial.start(night, Night(jobs={"load": LOAD, "check": CHECK}))
        await trial.advance(timedelta(seconds=10))

        assert len({job.idempotency_token for job in trial.jobs.runs}) == len(trial.jobs.runs) == 2


@BOTH
async def test_the_same_name_one_time_after_another_is_two_jobs(everywhere: bool) -> None:  # noqa: FBT001
    async with Trial(twice, crash_everywhere=everywhere) as trial:
        run = await trial.start(twice, Night())
        await (await run.waiting("load-1")).succeed("first")
        await (await run.waiting("load-1")).succeed("second")

        assert await run.result() == ["first", "second"]
        assert len(trial.jobs.runs) == 2
        assert trial.jobs.runs[1].parameters["after"] == str(trial.jobs.runs[0].run_id)


@BOTH
async def test_a_cancel_cancels_every_run(everywhere: bool) -> None:  # noqa: FBT001
    async with Trial(week, crash_everywhere=everywhere) as trial:
        run = await trial.start(week, Night(jobs={"load": LOAD, "check": CHECK}, attempts=3))
        await run.cancel()

        assert (await failed(run, WorkflowCancelled))["outcome"] == "cancelled"
        assert [job.result_state for job in trial.jobs.runs] == ["CANCELED", "CANCELED"]


@BOTH
async def test_the_deadline_cancels_the_run_and_ends_the_workflow_expired(everywhere: bool) -> None:  # noqa: FBT001
    async with Trial(night, crash_everywhere=everywhere) as trial:
        run = await trial.start(night, Night(deadline=60))
        await trial.advance(timedelta(minutes=2))

        error = await failed(run, WorkflowExpired)
        assert (error["outcome"], error["run_id"]) == ("expired", trial.jobs.runs[0].run_id)
        assert trial.jobs.runs[0].result_state == "CANCELED"


@BOTH
@pytest.mark.parametrize("how", ["gather", "group"])
async def test_a_job_that_the_workflow_no_longer_awaits_is_stopped(how: str, everywhere: bool) -> None:  # noqa: FBT001
    async with Trial(night, crash_everywhere=everywhere) as trial:
        run = await trial.start(night, Night(jobs={"load": LOAD, "check": CHECK}, how=how))
        await (await run.waiting("check-1")).fail("wrong sums", {"off": 3})

        error = await failed(run, WorkflowFailed)
        assert (error["message"], error["outcome"], error["details"]) == ("wrong sums", "failed", {"off": 3})
        assert error["run_id"] == by_job(trial)[CHECK].run_id
        assert by_job(trial)[LOAD].result_state == "CANCELED"


@BOTH
async def test_a_job_beside_a_step_that_fails_is_stopped(everywhere: bool) -> None:  # noqa: FBT001
    async with Trial(beside, crash_everywhere=everywhere) as trial:
        run = await trial.start(beside, Night())

        assert "ValueError" in (await failed(run, WorkflowFailed))["message"]
        assert [job.result_state for job in trial.jobs.runs] in ([], ["CANCELED"])


@BOTH
@pytest.mark.parametrize("end", ["failed", "died", "expired", "refused"])
async def test_how_it_failed_can_be_caught_and_read(end: str, everywhere: bool) -> None:  # noqa: FBT001
    async with Trial(forgiving, crash_everywhere=everywhere) as trial:
        if end == "refused":
            trial.jobs.workspace.add_job(LOAD, Job(permitted=False))

        run = await trial.start(forgiving, Night(deadline=90))

        if end == "failed":
            await (await run.waiting("load-1")).fail("no input", [1])
        elif end == "died":
            trial.jobs.die(trial.jobs.runs[0].run_id)

        await trial.advance(timedelta(minutes=2))
        outcome, message, details, run_id = await run.result()

    if end == "refused":
        assert (outcome, run_id) == ("failed", None)
        assert "does not have Manage Run" in message
    else:
        assert (outcome, run_id) == (end, trial.jobs.runs[0].run_id)
        assert details == [1] if end == "failed" else "state_message" in details if end == "died" else details is None


async def test_a_workflow_that_catches_its_own_cancel_is_cancelled_all_the_same() -> None:
    async with Trial(forgiving) as trial:
        run = await trial.start(forgiving, Night())
        await run.cancel()

        assert await run.state() == "cancelled"
        assert trial.jobs.runs[0].result_state == "CANCELED"


def test_a_failure_is_that_of_the_pipeline() -> None:
    failure = JobFailed("no input", outcome="failed", run_id=3, details={"day": 1})

    assert isinstance(failure, WorkflowFailed)
    assert failure.error == {"message": "no input", "outcome": "failed", "run_id": 3, "details": {"day": 1}}


async def test_several_jobs_run_at_once_on_every_engine(tmp_path: Path, engine_url: str) -> None:
    jobs = {LOAD: Job(fate="hold"), CHECK: Job(fate="hold")}

    async with plant(tmp_path, engine_url, week, jobs=jobs, also=[night]) as works:
        for name in ("a", "b"):
            await works.start(name, jobs={"load": LOAD, "check": CHECK})

        await works.triggered(4)
        found = {run.parameters["callback_url"]: run for run in works.emulator.workspace.runs()}
        assert len(found) == 4

        children = [f"night.{name}.{works_child}" for name, works_child in await child_ids(works)]
        await works.answer(f"{children[0]}:2.1", '"checked"', name="check-1")
        await works.answer(f"{children[0]}:1.1", '"loaded"', name="load-1")
        assert await works.ended("a") == ("succeeded", [["loaded", 1, "callback"], ["checked", 1, "callback"]])

        await request_cancel(works.engine, works.root("b"))
        assert (await works.ended("b"))[0] == "cancelled"
        states = sorted(str(run.result_state) for run in works.emulator.workspace.runs())
        assert states == ["CANCELED", "CANCELED", "None", "None"]


async def child_ids(works: Any) -> list[tuple[str, str]]:
    found = []

    for name in ("a", "b"):
        root = await works.engine.promises.get(works.root(name))
        child = child_of(root, await works.opened(f"{works.root(name)}:1"))
        assert child is not None
        found.append((name, child.id.removeprefix(f"{name}.")))

    return found
