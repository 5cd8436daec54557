"""Every answer of the emulator, read with the dataclasses of databricks.sdk: no field and no state that they lack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from databricks.sdk.service import jobs as api
from support.clocks import Clock

from orchestrator.testing.emulator.answers import OUTPUT_LIMIT
from orchestrator.testing.emulator.workspace import Job, Task, Workspace

PIPELINE = {
    "extract": Task(fate="hold"),
    "each": Task(fate="hold", depends_on=("extract",), for_each=("a", "b")),
    "load": Task(fate="hold", depends_on=("extract",), max_retries=1, min_retry_interval_millis=1000),
    "check": Task(fate="hold", depends_on=("load",), run_if="ALL_DONE", kind="spark_python_task"),
}
KINDS: dict[str, str] = {
    "notebook_task": "notebook_output",
    "spark_python_task": "logs",
    "python_wheel_task": "logs",
    "spark_jar_task": "logs",
    "sql_task": "sql_output",
    "dbt_task": "dbt_output",
    "run_job_task": "run_job_output",
}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def workspace(clock: Clock) -> Workspace:
    return Workspace({1: Job(tasks=PIPELINE, parameters={"day": "monday"})}, url="https://w.example", clock=clock)


def without_empty(value: Any) -> Any:
    """Return the value without empty arrays and objects, which the dataclasses leave out."""
    if isinstance(value, dict):
        return {name: left for name, one in value.items() if (left := without_empty(one)) not in ([], {})}

    return [without_empty(one) for one in value] if isinstance(value, list) else value


def same(answer: dict[str, Any], read: Callable[[dict[str, Any]], Any]) -> None:
    assert without_empty(read(answer).as_dict()) == without_empty(answer)


def run_now(workspace: Workspace, job_id: int = 1, **body: object) -> int:
    answer = workspace.run_now({"job_id": job_id, **body})
    same(answer, api.RunNowResponse.from_dict)

    return int(answer["run_id"])


def check(workspace: Workspace, run_id: int) -> None:
    """Read everything that there is to read about a run."""
    same(workspace.get(run_id, include_history=True), api.Run.from_dict)
    same(workspace.list({"expand_tasks": "true"}), api.ListRunsResponse.from_dict)

    for run in workspace.runs():
        for one in run.all_task_runs():
            same(workspace.get(one.run_id), api.Run.from_dict)

            if not one.iterations:
                same(workspace.get_output(one.run_id), api.RunOutput.from_dict)


def end(workspace: Workspace, run_id: int, key: str, result: str = "SUCCESS") -> None:
    workspace.move(workspace.task_run(run_id, key).run_id, "TERMINATED", result, "what happened")


def test_a_run_of_many_tasks_through_failure_retry_and_repair(workspace: Workspace, clock: Clock) -> None:
    run_id = run_now(workspace, job_parameters={"day": "tuesday"})
    check(workspace, run_id)
    end(workspace, run_id, "extract")
    check(workspace, run_id)

    for one in workspace.task_run(run_id, "each").iterations:
        workspace.move(one.run_id, "TERMINATED", "SUCCESS")

    end(workspace, run_id, "load", "FAILED")
    assert workspace.task_run(run_id, "load").life_cycle_state == "WAITING_FOR_RETRY"
    check(workspace, run_id)
    clock.now += 2
    check(workspace, run_id)
    end(workspace, run_id, "load", "FAILED")
    end(workspace, run_id, "check", "FAILED")
    check(workspace, run_id)
    assert workspace.get(run_id)["state"]["result_state"] == "FAILED"

    answer = workspace.repair({"run_id": run_id, "rerun_all_failed_tasks": True})
    same(answer, api.RepairRunResponse.from_dict)
    check(workspace, run_id)
    end(workspace, run_id, "load")
    end(workspace, run_id, "check")
    check(workspace, run_id)
    assert workspace.get(run_id)["state"]["result_state"] == "SUCCESS"


@pytest.mark.parametrize("fate", ["hold", "blocked", "succeeds", "fails", "dies", "skipped", "times_out", "disabled"])
def test_a_run_of_one_task_with_each_fate(workspace: Workspace, fate: Any) -> None:
    workspace.add_job(2, Job(fate=fate, name="nightly"))
    check(workspace, run_now(workspace, 2))


def test_a_queued_and_a_cancelled_run(workspace: Workspace) -> None:
    workspace.add_job(2, Job(fate="hold", max_concurrent_runs=1, queue=True))
    first, second = run_now(workspace, 2), run_now(workspace, 2)
    shown = workspace.get(second)
    check(workspace, second)
    assert (shown["state"]["life_cycle_state"], shown["status"]["queue_details"]["code"]) == (
        "QUEUED",
        "MAX_CONCURRENT_RUNS_REACHED",
    )

    workspace.cancel({"run_id": first})
    check(workspace, first)
    assert workspace.get(second)["state"]["life_cycle_state"] == "RUNNING"


@pytest.mark.parametrize(("kind", "field"), KINDS.items())
def test_each_kind_of_task_has_the_output_of_its_kind(workspace: Workspace, kind: Any, field: str) -> None:
    task = Task(fate="succeeds", kind=kind, output="42", logs="printed")
    workspace.add_job(2, Job(tasks={"only": task}))
    run_id = run_now(workspace, 2)
    check(workspace, run_id)

    shown = workspace.get_output(workspace.task_run(run_id, "only").run_id)

    assert field in shown
    assert {name for name in shown if name not in {"metadata", "logs_truncated"}} == {field}
    assert shown["metadata"]["job_run_id"] == run_id


def test_an_exit_value_is_cut_after_its_first_five_megabytes_and_logs_before_their_last(workspace: Workspace) -> None:
    long = "ü" + "x" * OUTPUT_LIMIT + "ü"
    workspace.add_job(2, Job(tasks={"one": Task(fate="succeeds", output=long)}))
    workspace.add_job(3, Job(tasks={"one": Task(fate="succeeds", kind="spark_jar_task", logs=long)}))
    value, logs = (
        workspace.get_output(workspace.task_run(run_now(workspace, job_id), "one").run_id) for job_id in (2, 3)
    )

    assert value["notebook_output"] == {"result": long[: OUTPUT_LIMIT - 1], "truncated": True}
    assert (logs["logs"], logs["logs_truncated"]) == (long[-OUTPUT_LIMIT + 1 :], True)


def test_a_notebook_that_never_exits_has_an_output_without_a_result(workspace: Workspace) -> None:
    workspace.add_job(2, Job(fate="succeeds"))
    workspace.add_job(3, Job(fate="fails"))
    good, bad = (workspace.get_output(workspace.task_run(run_now(workspace, job), "main").run_id) for job in (2, 3))

    assert (good["notebook_output"], bad["notebook_output"]) == ({"truncated": False}, {"truncated": False})
    assert bad["error"] == "Workload failed, see run output for details"


def test_a_long_array_comes_in_pages(workspace: Workspace) -> None:
    workspace.add_job(2, Job(tasks={f"task{number}": Task(fate="hold") for number in range(230)}))
    run_id = run_now(workspace, 2)
    seen, token = [], None

    for _ in range(3):
        page = workspace.get(run_id, page_token=token)
        same(page, api.Run.from_dict)
        seen.append(len(page["tasks"]))
        token = page.get("next_page_token")

    assert (seen, token) == ([100, 100, 30], None)
