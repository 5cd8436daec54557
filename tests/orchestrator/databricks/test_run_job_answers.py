"""Whose word counts for a job: the link, the run, or the first of both; and that crashes and races change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.jobs import LOAD, MINUTE, Night, failed, hint, kept, night

from orchestrator import Address, Context, JobFailed, Misused, WorkflowExpired, run_job, workflow
from orchestrator.durable.opened_at import opened_at
from orchestrator.engine import Engine
from orchestrator.stored_names import CALLBACK_TAG
from orchestrator.testing import Trial
from orchestrator.testing.emulator.workspace import Fault, Job, Task
from orchestrator.testing.trial.jobs import TrialJobs

if TYPE_CHECKING:
    from orchestrator.databricks.run import JobRun

BOTH = pytest.mark.parametrize("everywhere", [False, True])
ANSWERS = pytest.mark.parametrize("answer", ["callback", "run", "either"])


@BOTH
@pytest.mark.parametrize("answer", ["run", "either"])
async def test_the_end_of_a_run_is_the_answer(answer: str, everywhere: bool) -> None:  # noqa: FBT001
    async with Trial(night, crash_everywhere=everywhere) as trial:
        run = await trial.start(night, Night(answer=answer))
        (job,) = trial.jobs.runs
        await trial.advance(MINUTE)
        trial.jobs.succeed(job.run_id, {"rows": 3})
        await trial.advance(MINUTE)

        assert await run.result() == [{"rows": 3}, 1, "run", None]
        assert len(trial.jobs.runs) == 1
        assert set(job.parameters) == ({"day"} if answer == "run" else {"day", "callback_url"})


@BOTH
@pytest.mark.parametrize("answer", ["callback", "either"])
async def test_the_callback_is_the_answer(answer: str, everywhere: bool) -> None:  # noqa: FBT001
    async with Trial(night, crash_everywhere=everywhere) as trial:
        run = await trial.start(night, Night(answer=answer))
        await (await run.waiting("load-1")).succeed({"rows": 3})

        assert await run.result() == [{"rows": 3}, 1, "callback", None]
        assert len(trial.jobs.runs) == 1


@BOTH
@ANSWERS
async def test_a_further_attempt_is_made_after_a_run_that_died(answer: str, everywhere: bool) -> None:  # noqa: FBT001
    async with Trial(night, crash_everywhere=everywhere) as trial:
        run = await trial.start(night, Night(answer=answer, attempts=2))
        trial.jobs.die(trial.jobs.runs[0].run_id)
        await trial.advance(2 * MINUTE)
        trial.jobs.fail(trial.jobs.runs[1].run_id, "RuntimeError: no input")
        await trial.advance(MINUTE)

        error = await failed(run)
        assert error["outcome"] == ("died" if answer == "callback" else "failed")
        assert ("RuntimeError: no input" in error["message"]) == (answer != "callback")
        assert error["run_id"] == trial.jobs.runs[1].run_id
        assert len(trial.jobs.runs) == 2


@BOTH
@ANSWERS
async def test_the_deadline_cancels_the_run(answer: str, everywhere: bool) -> None:  # noqa: FBT001
    async with Trial(night, crash_everywhere=everywhere) as trial:
        run = await trial.start(night, Night(answer=answer, deadline=300))
        await trial.advance(10 * MINUTE)

        assert (await failed(run, WorkflowExpired))["outcome"] == "expired"
        assert [job.result_state for job in trial.jobs.runs] == ["CANCELED"]
        assert await kept(trial, run) is None


@BOTH
@ANSWERS
async def test_a_cancel_cancels_the_run(answer: str, everywhere: bool) -> None:  # noqa: FBT001
    async with Trial(night, crash_everywhere=everywhere) as trial:
        run = await trial.start(night, Night(answer=answer, attempts=2))
        await trial.advance(MINUTE)
        await run.cancel()

        assert await run.state() == "cancelled"
        assert [job.result_state for job in trial.jobs.runs] == ["CANCELED"]


@ANSWERS
async def test_a_lost_reply_to_the_trigger_starts_one_run_and_its_end_is_found(answer: str) -> None:
    async with Trial(night) as trial:
        trial.jobs.workspace.fail_next(Fault(kind="lost", count=2))
        run = await trial.start(night, Night(answer=answer))
        (job,) = trial.jobs.runs
        trial.jobs.succeed(job.run_id, 3)
        await trial.advance(MINUTE)

        if answer == "callback":
            assert (await failed(run))["outcome"] == "died"
        else:
            assert await run.result() == [3, 1, "run", None]

        assert len(trial.jobs.runs) == 1


@pytest.mark.parametrize("answer", ["run", "either"])
async def test_a_hint_makes_the_end_known_at_once_and_the_second_reader_changes_nothing(answer: str) -> None:
    async with Trial(night) as trial:
        run = await trial.start(night, Night(answer=answer, watch_interval=500))
        (job,) = trial.jobs.runs
        trial.jobs.succeed(job.run_id, 3)
        await hint(trial, job.run_id)
        assert await run.result() == [3, 1, "run", None]

        await hint(trial, job.run_id)
        await trial.advance(10 * MINUTE)
        assert await run.result() == [3, 1, "run", None]
        assert await kept(trial, run) is None


async def test_a_run_that_is_repaired_before_it_is_looked_at_goes_on() -> None:
    async with Trial(night) as trial:
        run = await trial.start(night, Night(answer="run"))
        (job,) = trial.jobs.runs
        trial.jobs.fail(job.run_id)
        trial.jobs.repair(job.run_id)
        await trial.advance(2 * MINUTE)
        assert await run.state() == "running"

        trial.jobs.succeed(job.run_id, 3)
        await trial.advance(MINUTE)
        assert await run.result() == [3, 1, "run", None]


async def test_the_output_is_that_of_the_named_task() -> None:
    tasks = {"load": Task(fate="succeeds", output="1"), "check": Task(fate="succeeds", output="2")}

    async with Trial(night) as trial:
        trial.jobs.workspace.add_job(LOAD, Job(tasks=tasks))
        named = await trial.start(night, Night(answer="run", output_of="load"))
        missing = await trial.start(night, Night(answer="run", output_of="lead"))
        await trial.advance(MINUTE)

        assert await named.result() == [1, 1, "run", None]
        assert await missing.result() == [None, 1, "run", "the run has no task 'lead'"]


@pytest.mark.parametrize(
    ("fault", "note"),
    [
        (
            Fault(kind="status", on="runs/get-output", status=403, message="User has no view permission"),
            "view permission",
        ),
        (Fault(kind="status", on="runs/get-output", status=400, message="Not supported."), "could not be read"),
    ],
)
async def test_an_output_that_may_not_be_read_is_noted_and_the_success_is_kept(fault: Fault, note: str) -> None:
    async with Trial(night) as trial:
        run = await trial.start(night, Night(answer="run"))
        trial.jobs.succeed(trial.jobs.runs[0].run_id, 3)
        trial.jobs.workspace.fail_next(fault)
        await trial.advance(MINUTE)

        result, *_, told = await run.result()
        assert result is None
        assert note in told


async def test_an_output_that_cannot_be_read_now_is_waited_for() -> None:
    async with Trial(night) as trial:
        run = await trial.start(night, Night(answer="run"))
        trial.jobs.succeed(trial.jobs.runs[0].run_id, 3)
        trial.jobs.workspace.fail_next(Fault(kind="status", on="runs/get-output", status=503, count=1000))
        await trial.advance(2 * MINUTE)
        assert await run.state() == "running"

        trial.jobs.workspace.heal()
        await trial.advance(MINUTE)
        assert await run.result() == [3, 1, "run", None]


@pytest.fixture
def polls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The ids of the runs that were asked about so far."""
    asked: list[int] = []
    get_run = TrialJobs.get_run

    def noticed(jobs: TrialJobs, run_id: int) -> JobRun | None:
        asked.append(run_id)

        return get_run(jobs, run_id)

    monkeypatch.setattr(TrialJobs, "get_run", noticed)

    return asked


async def test_after_an_answer_a_run_is_asked_about_until_the_deadline_and_no_longer(polls: list[int]) -> None:
    async with Trial(night) as trial:
        run = await trial.start(night, Night(answer="either", deadline=300))
        await (await run.waiting("load-1")).succeed(1)
        before = len(polls)
        await trial.advance(3 * MINUTE)
        assert len(polls) > before

        await trial.advance(3 * MINUTE)
        at_the_deadline = len(polls)
        await trial.advance(10 * MINUTE)
        assert len(polls) == at_the_deadline


async def test_after_a_cancel_nobody_asks_about_the_run_although_it_goes_on(polls: list[int]) -> None:
    async with Trial(night) as trial:
        run = await trial.start(night, Night(answer="either", deadline=3600))
        trial.jobs.workspace.fail_next(Fault(kind="status", on="runs/cancel", status=403, message="No permission"))
        await trial.advance(MINUTE)
        await run.cancel()
        assert await run.state() == "cancelled"

        at_the_cancel = len(polls)
        await trial.advance(10 * MINUTE)
        assert [job.result_state for job in trial.jobs.runs] == [None]
        assert len(polls) == at_the_cancel > 0


@ANSWERS
async def test_a_cancel_ends_it_although_databricks_never_says_whether_there_is_a_run(answer: str) -> None:
    async with Trial(night) as trial:
        trial.jobs.workspace.fail_next(Fault(kind="status", on="run-now", status=503, count=100_000))
        run = await trial.start(night, Night(answer=answer, deadline=86_400))
        await trial.advance(MINUTE)
        await run.cancel()
        await trial.advance(60 * MINUTE)

        assert await run.state() == "cancelled"


@workflow()
async def indiscreet(ctx: Context, request: Night) -> Any:
    """Run a job that has no link, and try to get one by a step."""
    try:
        await run_job(ctx, "load", LOAD, answer="run", deadline=request.deadline)
    except JobFailed:
        return await ctx.run(mint, f"{ctx.info.origin_id}:1.1")


async def mint(ctx: Context, promise_id: str) -> str:
    record = await ctx.get_dependency(Engine).promises.get(promise_id)
    address = Address(
        promise_id=promise_id,
        callback=record.tags[CALLBACK_TAG],
        audience="machine",
        subject="job 7",
        outcomes=("succeeded", "failed"),
        opened_at=opened_at(record),
    )

    try:
        return await address.url(ctx)
    except Misused as error:
        return str(error)


async def test_no_link_is_ever_minted_for_a_wait_that_only_the_run_answers() -> None:
    async with Trial(indiscreet) as trial:
        run = await trial.start(indiscreet, Night(answer="run"))
        assert trial._surroundings.signer.minted == {}
        trial.jobs.die(trial.jobs.runs[0].run_id)
        await trial.advance(MINUTE)

        assert await run.result() == "no link may answer the wait load-1"
        assert trial._surroundings.signer.minted == {}


async def test_a_wait_that_only_the_run_answers_takes_no_callback_in_a_trial_either() -> None:
    async with Trial(night) as trial:
        run = await trial.start(night, Night(answer="run"))
        wait = await run.waiting("load-1")

        with pytest.raises(AssertionError, match="only the end of its run answers it"):
            await wait.succeed("forged")

        with pytest.raises(AssertionError, match=r"trial\.jobs\.succeed"):
            await run.result()
