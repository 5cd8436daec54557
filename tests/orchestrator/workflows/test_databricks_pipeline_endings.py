"""How the pipeline ends, when, and who is told: with every pause and deadline at its exact moment.

`test_databricks_pipeline` has what depends on an engine or on the real Databricks client.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from orchestrator import WorkflowCancelled, WorkflowExpired, WorkflowFailed
from orchestrator.callbacks.outcomes import Outcome
from orchestrator.callbacks.settlement import resolve
from orchestrator.errors import StepRefused, WorkflowEnded
from orchestrator.mail.mailer import Mailer
from orchestrator.testing import Run, Trial
from orchestrator.testing.emulator.workspace import Fault, Job
from orchestrator.workflows import databricks_pipeline

HOLDS, DIES, SKIPPED, FORBIDDEN, DECLARES, MISSING = range(1, 7)
OPS = "ops@example.org"


def trial() -> Trial:
    one = Trial(databricks_pipeline)

    for job_id, job in {
        DIES: Job(fate="dies"),
        SKIPPED: Job(fate="skipped"),
        FORBIDDEN: Job(fate="hold", permitted=False),
        DECLARES: Job(fate="hold", parameters={"callback_url": ""}),
    }.items():
        one.jobs.workspace.add_job(job_id, job)

    return one


async def begun(here: Trial, **request: Any) -> Run:
    return await here.start(databricks_pipeline, {"watch_interval": 1, **request})


async def ended(run: Run) -> tuple[str, dict[str, Any]]:
    try:
        return "succeeded", await run.result()
    except WorkflowEnded as end:
        return end.state, end.error


def starts(here: Trial) -> list[datetime]:
    return [datetime.fromtimestamp(run.start_time / 1000, here.now.tzinfo) for run in here.jobs.runs]


async def test_attempts_pause_a_second_then_twice_as_long_after_each_end() -> None:
    async with trial() as here:
        begin = here.now
        run = await begun(here, job_id=SKIPPED, attempts=4)
        await here.advance(timedelta(minutes=1))

        assert [(start - begin).total_seconds() for start in starts(here)] == [0, 1, 3, 7]
        state, error = await ended(run)
        assert (state, error["outcome"]) == ("failed", "died")
        assert [step.name for step in await run.steps()].count("sleep") == 3


async def test_a_pause_is_not_part_of_the_deadline() -> None:
    async with trial() as here:
        run = await begun(here, job_id=DIES, attempts=4, deadline=3)
        await here.advance(timedelta(minutes=1))

        assert (await ended(run))[1]["outcome"] == "died"
        assert len(here.jobs.runs) == 4


async def test_a_deadline_is_not_followed_by_another_attempt_and_ends_it_at_that_moment() -> None:
    async with trial() as here:
        run = await begun(here, job_id=HOLDS, attempts=3, deadline=3600, watch_interval=600)
        await here.advance(timedelta(seconds=3599))
        assert await run.state() == "running"
        await here.advance(timedelta(seconds=1))

        assert (await ended(run))[0] == "expired"
        assert len(here.jobs.runs) == 1


async def test_a_run_that_may_not_be_cancelled_is_named_as_going_on() -> None:
    async with trial() as here:
        run = await begun(here, job_id=HOLDS, deadline=60)
        here.jobs.workspace.fail_next(Fault(kind="status", on="runs/cancel", status=403))
        await here.advance(timedelta(minutes=1))

        state, error = await ended(run)
        assert (state, error["outcome"], error["run_id"]) == ("expired", "expired", here.jobs.runs[0].run_id)
        assert "the run may go on" in error["message"]


async def test_a_cancel_after_the_end_changes_nothing() -> None:
    async with trial() as here:
        run = await begun(here, job_id=DIES)
        await here.advance(timedelta(seconds=5))
        before = await ended(run)
        await run.cancel()

        assert await ended(run) == before


async def test_a_cancel_during_a_pause_ends_it_at_once_and_starts_no_run() -> None:
    async with trial() as here:
        run = await begun(here, job_id=DIES, attempts=20, watch_interval=60)
        await here.advance(timedelta(minutes=20))
        count = len(here.jobs.runs)
        assert [step.name for step in await run.steps() if step.state == "running"][1:] == ["sleep"]
        await run.cancel()

        state, error = await ended(run)
        assert (state, error["outcome"], error["run_id"]) == ("cancelled", "cancelled", here.jobs.runs[-1].run_id)
        assert len(here.jobs.runs) == count


async def test_a_start_repeated_after_the_end_gives_the_stored_outcome_and_no_second_run() -> None:
    async with trial() as here:
        run = await here.start(databricks_pipeline, {"job_id": DIES}, id="a")
        await here.advance(timedelta(minutes=1))
        again = await here.start(databricks_pipeline, {"job_id": DIES}, id="a")

        assert await ended(again) == await ended(run)
        assert len(here.jobs.runs) == 1


@pytest.mark.parametrize(
    ("request_fields", "kind", "what"),
    [
        ({"job_id": FORBIDDEN}, WorkflowFailed, "failed (no run)"),
        ({"job_id": MISSING}, WorkflowFailed, "failed (no run)"),
        ({"job_id": DECLARES, "parameters": {"undeclared": "1"}}, WorkflowFailed, "failed (no run)"),
        ({"job_id": DIES}, WorkflowFailed, "died (run"),
        ({"job_id": HOLDS, "deadline": 60}, WorkflowExpired, "expired (run"),
    ],
    ids=["forbidden", "no such job", "parameters", "died", "expired"],
)
async def test_however_it_ends_notify_gets_a_mail(
    request_fields: dict[str, Any], kind: type[WorkflowEnded], what: str
) -> None:
    async with trial() as here:
        if request_fields["job_id"] == MISSING:
            here.jobs.workspace.fail_next(Fault(kind="status", status=400, message="Job does not exist."))

        run = await begun(here, notify=OPS, **request_fields)
        await here.advance(timedelta(minutes=1))

        with pytest.raises(kind) as raised:
            await run.result()

        (mail,) = here.mail
        assert mail.to == OPS
        assert mail.subject.startswith(f"databricks_pipeline.{run.id} {what}")
        assert str(raised.value) in mail.text


async def test_notify_gets_a_mail_about_success_a_cancel_and_the_jobs_own_failure() -> None:
    async with trial() as here:
        good, stopped, bad, confused = [await begun(here, job_id=HOLDS, notify=OPS) for _ in range(4)]
        await (await good.waiting("run-1")).succeed(1)
        await stopped.cancel()
        await (await bad.waiting("run-1")).fail("no input")
        # As from a link that an earlier version of the workflow handed out.
        other = Outcome(kind="succeeded", callback="another-name", by="callback", body="1")
        wait_id = f"databricks_pipeline.{confused.id}:1"
        await here._world.do(lambda engine: resolve(engine.promises, wait_id, ikey="a", outcome=other))

        assert (await good.result())["result"] == 1

        for run, kind in ((stopped, WorkflowCancelled), (bad, WorkflowFailed), (confused, WorkflowFailed)):
            with pytest.raises(kind):
                await run.result()

        for run, what in ((good, "succeeded"), (stopped, "cancelled"), (bad, "failed"), (confused, "failed")):
            subject = f"databricks_pipeline.{run.id} {what} ("
            assert len([mail for mail in here.mail if mail.subject.startswith(subject)]) == 1


@pytest.mark.parametrize("error", [StepRefused("550 no such user"), ValueError(f"{OPS} is odd")])
async def test_a_notification_that_cannot_be_sent_is_logged_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    async def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(Mailer, "send", refuse)

    async with trial() as here:
        run = await begun(here, job_id=FORBIDDEN, notify=OPS)

        assert (await ended(run))[1]["outcome"] == "failed"

    (line,) = [line for line in caplog.messages if "the notification" in line]
    assert f"databricks_pipeline.{run.id}" in line
    assert f"{OPS} is odd" not in caplog.text
