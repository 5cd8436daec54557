"""The Jobs API of a trial behaves as the port expects of Databricks."""

from __future__ import annotations

import pytest

from orchestrator.databricks.run import JobRun
from orchestrator.errors import StepRefused, StepUnavailable
from orchestrator.testing.emulator.workspace import Fault, Job
from orchestrator.testing.trial.jobs import TrialJobs


@pytest.fixture
def jobs() -> TrialJobs:
    return TrialJobs(lambda: 1_700_000_000.0)


def read(jobs: TrialJobs, run_id: int) -> JobRun:
    run = jobs.get_run(run_id)
    assert run is not None
    return run


def test_every_job_exists_and_its_runs_go_on(jobs: TrialJobs) -> None:
    run_id = jobs.run_now(7, "token", {"day": "monday"})

    assert jobs.run_now(7, "token", {}) == run_id
    assert [(run.run_id, run.job_id, run.start_time) for run in jobs.runs] == [(run_id, 7, 1_700_000_000_000)]
    shown = read(jobs, run_id)
    assert (shown.over, shown.life_cycle_state, shown.parameters) == (False, "RUNNING", {"day": "monday"})


def test_a_run_ends_as_the_test_says(jobs: TrialJobs) -> None:
    good, bad = jobs.run_now(7, "a", {}), jobs.run_now(7, "b", {})
    jobs.succeed(good, {"rows": 3})
    jobs.die(bad)

    assert (read(jobs, good).over, read(jobs, good).result_state) == (True, "SUCCESS")
    assert (read(jobs, bad).over, read(jobs, bad).life_cycle_state) == (True, "INTERNAL_ERROR")
    assert jobs.outputs[good] == {"rows": 3}

    with pytest.raises(ValueError, match=f"the run {good} is over: TERMINATED"):
        jobs.die(good)

    with pytest.raises(LookupError, match=f"no run 0; there are: {good}, {bad}"):
        jobs.succeed(0)


def test_a_cancelled_run_is_over_and_one_that_is_gone_is_no_error(jobs: TrialJobs) -> None:
    run_id = jobs.run_now(7, "a", {})
    jobs.cancel_run(run_id)
    jobs.cancel_run(0)

    assert read(jobs, run_id).result_state == "CANCELED"
    assert jobs.get_run(0) is None


def test_refusals_and_faults_are_the_ports(jobs: TrialJobs) -> None:
    jobs.workspace.add_job(8, Job(fate="hold", permitted=False))

    with pytest.raises(StepRefused, match="refused"):
        jobs.run_now(8, "a", {})

    for fault in (Fault(kind="refused"), Fault(kind="status", status=503, retry_after=9), Fault(kind="lost")):
        jobs.workspace.fail_next(fault)

        with pytest.raises(StepUnavailable):
            jobs.run_now(7, "b", {})

    # The response to the last one was lost, and the run was not.
    assert [run.run_id for run in jobs.runs] == [jobs.run_now(7, "b", {})]
