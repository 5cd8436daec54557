"""Of two answers to a job, the first counts, and the other is kept beside the wait and changes nothing."""

from __future__ import annotations

import pytest
from support.jobs import MINUTE, Night, failed, hint, kept, night

from orchestrator.testing import Trial

BOTH = pytest.mark.parametrize("everywhere", [False, True])


@BOTH
async def test_of_the_link_and_the_run_the_first_counts_and_the_other_is_kept(everywhere: bool) -> None:  # noqa: FBT001
    async with Trial(night, crash_everywhere=everywhere) as trial:
        run = await trial.start(night, Night(answer="either"))
        (job,) = trial.jobs.runs
        await (await run.waiting("load-1")).fail("no input")
        assert (await failed(run))["message"] == "no input"

        await trial.advance(2 * MINUTE)
        assert await kept(trial, run) is None
        trial.jobs.succeed(job.run_id, {"rows": 3})
        await trial.advance(MINUTE)

        later = await kept(trial, run)
        assert later is not None
        assert (later.kind, later.by, later.value) == ("succeeded", "watcher", {"rows": 3})
        assert (await failed(run))["message"] == "no input"


async def test_a_callback_that_comes_after_the_run_s_end_is_kept_and_changes_nothing() -> None:
    async with Trial(night) as trial:
        run = await trial.start(night, Night(answer="either"))
        wait = await run.waiting("load-1")
        trial.jobs.succeed(trial.jobs.runs[0].run_id, 3)
        await trial.advance(MINUTE)

        with pytest.raises(AssertionError, match="was answered before: succeeded by watcher"):
            await wait.fail("no input", {"day": 1})

        later = await kept(trial, run)
        assert later is not None
        assert (later.kind, later.by, later.message, later.details) == ("failed", "callback", "no input", {"day": 1})
        assert await run.result() == [3, 1, "run", None]


async def test_a_repair_that_succeeds_after_the_failure_was_reported_is_kept_if_a_hint_tells_of_it() -> None:
    async with Trial(night) as trial:
        run = await trial.start(night, Night(answer="run"))
        (job,) = trial.jobs.runs
        trial.jobs.fail(job.run_id)
        await trial.advance(MINUTE)
        assert (await failed(run))["outcome"] == "failed"

        trial.jobs.repair(job.run_id)
        trial.jobs.succeed(job.run_id, 3)
        await hint(trial, job.run_id)

        later = await kept(trial, run)
        assert later is not None
        assert (later.kind, later.value) == ("succeeded", 3)
        assert (await failed(run))["outcome"] == "failed"


async def test_a_job_that_only_its_callback_answers_keeps_no_later_answer() -> None:
    async with Trial(night) as trial:
        run = await trial.start(night, Night(answer="callback"))
        wait = await run.waiting("load-1")
        trial.jobs.die(trial.jobs.runs[0].run_id)
        await trial.advance(MINUTE)

        with pytest.raises(AssertionError, match="was answered before: died by watcher"):
            await wait.succeed(3)

        assert await kept(trial, run) is None
