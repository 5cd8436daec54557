"""What the states of a run mean: which tasks failed, whether the job itself did, and the sentence for it."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.databricks.run import JobRun, TaskRun
from orchestrator.databricks.run_states import failed_tasks, has_failed_itself, how_it_ended


def run(life_cycle_state: str, result_state: str | None, **fields: Any) -> JobRun:
    return JobRun(
        run_id=1,
        job_id=1,
        over=True,
        life_cycle_state=life_cycle_state,
        result_state=result_state,
        page_url=None,
        parameters={},
        **{"message": "", **fields},
    )


def task(key: str, life_cycle_state: str, result_state: str) -> TaskRun:
    return TaskRun(
        key=key,
        run_id=1,
        life_cycle_state=life_cycle_state,
        result_state=result_state,
        is_notebook=True,
        end_time=1,
    )


@pytest.mark.parametrize(
    ("result_state", "message", "said"),
    [
        ("MAXIMUM_CONCURRENT_RUNS_REACHED", "", "limit of concurrent runs"),
        ("MAX_CONCURRENT_RUNS_EXCEEDED", "", "limit of concurrent runs"),
        (None, "The job is paused", "The job is paused"),
        (None, "", "(SKIPPED)"),
    ],
)
def test_why_a_run_was_skipped_is_said_in_whichever_form_the_api_gives_it(
    result_state: str | None, message: str, said: str
) -> None:
    assert said in how_it_ended(run("SKIPPED", result_state, message=message))


@pytest.mark.parametrize(
    ("result_state", "code", "said"),
    [
        ("CANCELED", "USER_CANCELED", "somebody cancelled it"),
        ("CANCELED", "CANCELED", "it was cancelled in Databricks"),
        ("CANCELED", None, "it was cancelled in Databricks"),
        ("TIMEDOUT", "CANCELED", "time limit of the job"),
        ("FAILED", "WORKSPACE_RUN_LIMIT_EXCEEDED", "the workspace's limit of runs"),
        ("A_NEW_ONE", "A_NEW_CODE", "(TERMINATED, A_NEW_ONE)"),
    ],
)
def test_why_a_run_was_stopped_is_said_by_its_result_and_by_its_code(
    result_state: str, code: str | None, said: str
) -> None:
    assert said in how_it_ended(run("TERMINATED", result_state, code=code))


def test_a_failed_task_is_a_failure_of_the_job_itself_although_the_run_shows_an_internal_error() -> None:
    tasks = (
        task("after", "SKIPPED", "UPSTREAM_FAILED"),
        task("lost", "INTERNAL_ERROR", "FAILED"),
        task("load", "TERMINATED", "FAILED"),
        task("fine", "TERMINATED", "SUCCESS"),
    )

    assert has_failed_itself(run("INTERNAL_ERROR", "FAILED", tasks=tasks))
    assert not has_failed_itself(run("INTERNAL_ERROR", "FAILED", tasks=tasks[:2]))
    assert [one.key for one in failed_tasks(run("INTERNAL_ERROR", "FAILED", tasks=tasks))] == ["load", "lost"]


@pytest.mark.parametrize(
    ("life_cycle_state", "result_state", "itself"),
    [
        ("TERMINATED", "FAILED", True),
        ("TERMINATED", "RUN_EXECUTION_ERROR", True),
        ("INTERNAL_ERROR", "FAILED", False),
        ("TERMINATED", "TIMEDOUT", False),
        ("SKIPPED", None, False),
    ],
)
def test_a_run_without_tasks_shows_by_itself_whether_the_job_failed(
    life_cycle_state: str,
    result_state: str | None,
    itself: bool,  # noqa: FBT001
) -> None:
    assert has_failed_itself(run(life_cycle_state, result_state)) is itself
