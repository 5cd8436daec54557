"""The calls of the Jobs API beyond starting and reading one run: outputs, lists, repairs, and their refusals."""

from __future__ import annotations

from typing import Any

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import InvalidParameterValue
from databricks.sdk.service.jobs import RunResultState
from support.clocks import Clock

from orchestrator.testing.emulator.jobs_api import Emulator
from orchestrator.testing.emulator.refusals import ApiError
from orchestrator.testing.emulator.workspace import Fault, Job, Task, Workspace

DAY = 86_400.0
CHAIN = {"load": Task(fate="fails", then=("succeeds",)), "check": Task(fate="succeeds", depends_on=("load",))}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def workspace(clock: Clock) -> Workspace:
    return Workspace({1: Job(fate="hold"), 2: Job(tasks=CHAIN)}, clock=clock)


def run_now(workspace: Workspace, job_id: int = 1, **body: object) -> int:
    return int(workspace.run_now({"job_id": job_id, **body})["run_id"])


def ended(workspace: Workspace, run_id: int) -> tuple[str, str]:
    state = workspace.get(run_id)["state"]
    return state["life_cycle_state"], state["result_state"]


def test_the_real_client_reads_outputs_and_repairs_a_run() -> None:
    task = Task(fate="fails", then=("succeeds",), output='{"rows": 3}', error="RuntimeError: no rows")

    with Emulator(jobs={1: Job(tasks={"load": task})}) as emulator:
        jobs = WorkspaceClient(host=emulator.url, token=emulator.token).jobs
        run_id = jobs.run_now(1).bind()["run_id"]
        (load,) = jobs.get_run(run_id).tasks or []
        assert jobs.get_run_output(load.run_id or 0).error == "RuntimeError: no rows"

        with pytest.raises(InvalidParameterValue, match="output of runs with multiple tasks is not supported"):
            jobs.get_run_output(run_id)

        jobs.repair_run(run_id, rerun_all_failed_tasks=True)
        run = jobs.get_run(run_id, include_history=True)
        newest, oldest = run.tasks or []
        assert run.state is not None
        assert run.state.result_state == RunResultState.SUCCESS
        assert (newest.attempt_number, oldest.attempt_number) == (1, 0)
        assert [(one.type and one.type.value, one.task_run_ids) for one in run.repair_history or ()] == [
            ("ORIGINAL", [oldest.run_id]),
            ("REPAIR", [newest.run_id]),
        ]
        output = jobs.get_run_output(newest.run_id or 0).notebook_output
        assert output is not None
        assert (output.result, output.truncated) == ('{"rows": 3}', False)
        assert [one.run_id for one in jobs.list_runs(job_id=1)] == [run_id]


def test_a_repair_needs_a_run_that_is_over_and_the_id_of_the_latest_repair(workspace: Workspace) -> None:
    held, failed = run_now(workspace), run_now(workspace, 2)
    assert ended(workspace, failed) == ("INTERNAL_ERROR", "FAILED")

    for body, reason in (
        ({"run_id": held, "rerun_all_failed_tasks": True}, "still active"),
        ({"run_id": failed, "rerun_tasks": ["other"]}, "not in job 2"),
        ({"run_id": failed}, "Exactly one of"),
        ({"run_id": failed, "rerun_tasks": ["load"], "rerun_all_failed_tasks": True}, "Exactly one of"),
        ({"run_id": failed, "rerun_all_failed_tasks": True, "latest_repair_id": 7}, "latest_repair_id must be None"),
    ):
        with pytest.raises(ApiError, match=reason):
            workspace.repair(body)

    repair = workspace.repair({"run_id": failed, "rerun_all_failed_tasks": True})["repair_id"]
    assert ended(workspace, failed) == ("TERMINATED", "SUCCESS")

    with pytest.raises(ApiError, match=f"latest_repair_id must be {repair}"):
        workspace.repair({"run_id": failed, "rerun_tasks": ["load"]})

    with pytest.raises(ApiError, match="no task to repair"):
        workspace.repair({"run_id": failed, "rerun_all_failed_tasks": True, "latest_repair_id": repair})


def test_dependent_tasks_are_repaired_where_that_is_asked_for(workspace: Workspace) -> None:
    run_id = run_now(workspace, 2)
    workspace.repair({"run_id": run_id, "rerun_all_failed_tasks": True})
    last = workspace.runs()[0].repairs[-1].run_id
    workspace.repair(
        {
            "run_id": run_id,
            "rerun_tasks": ["load"],
            "rerun_dependent_tasks": True,
            "latest_repair_id": last,
        }
    )

    assert [(one.task_key, one.attempt_number) for one in workspace.runs()[0].tasks] == [
        ("load", 0),
        ("check", 0),
        ("load", 1),
        ("check", 1),
        ("load", 2),
        ("check", 2),
    ]


def test_runs_are_listed_newest_first_in_pages(workspace: Workspace, clock: Clock) -> None:
    ids = []

    for _ in range(30):
        clock.now += 1
        ids.append(run_now(workspace))

    workspace.cancel({"run_id": ids[0]})
    first = workspace.list({})
    second = workspace.list({"page_token": first["next_page_token"]})
    assert [run["run_id"] for run in first["runs"] + second["runs"]] == ids[::-1]
    assert (len(first["runs"]), first["has_more"], second["has_more"]) == (20, True, False)
    assert "tasks" not in first["runs"][0]

    assert [run["run_id"] for run in workspace.list({"completed_only": "true"})["runs"]] == [ids[0]]
    assert len(workspace.list({"active_only": "true", "limit": "25"})["runs"]) == 25
    late = workspace.list({"start_time_from": str(int(clock.now * 1000) - 1000), "expand_tasks": "true"})["runs"]
    assert [run["run_id"] for run in late] == ids[:-3:-1]
    assert [task["task_key"] for task in late[0]["tasks"]] == ["main"]
    assert workspace.list({"job_id": "2"}) == {"has_more": False}


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "26"},
        {"active_only": "true", "completed_only": "true"},
        {"active_only": "yes"},
        {"page_token": "x"},
        {"offset": "0"},
    ],
)
def test_a_list_that_databricks_would_refuse_is_refused(workspace: Workspace, query: dict[str, str]) -> None:
    with pytest.raises(ApiError):
        workspace.list(query)


def test_a_run_is_gone_after_sixty_days(workspace: Workspace, clock: Clock) -> None:
    run_id = run_now(workspace)
    workspace.move(run_id, "TERMINATED", "SUCCESS")
    task = workspace.task_run(run_id, "main").run_id
    clock.now += 59 * DAY
    workspace.get_output(task)
    clock.now += 2 * DAY

    for read in (workspace.get, workspace.get_output):
        with pytest.raises(ApiError, match="does not exist"):
            read(task)

    assert workspace.list({}) == {"has_more": False}


@pytest.mark.parametrize("size", [10_001, 20_000])
def test_parameters_of_more_than_ten_thousand_bytes_are_refused(workspace: Workspace, size: int) -> None:
    body: dict[str, Any] = {"job_parameters": {"rows": "x" * size}}

    with pytest.raises(ApiError, match="10000 bytes"):
        run_now(workspace, **body)

    assert workspace.runs() == []


def test_a_deleted_job_cannot_be_run(workspace: Workspace) -> None:
    run_id = run_now(workspace)
    workspace.remove_job(1)

    with pytest.raises(ApiError, match="Job 1 does not exist"):
        run_now(workspace)

    assert workspace.get(run_id)["state"]["life_cycle_state"] == "RUNNING"


def test_a_fault_can_hit_an_output(workspace: Workspace) -> None:
    workspace.fail_next(Fault(kind="status", on="runs/get-output", status=403))

    assert workspace.fault("runs/get") is None
    assert workspace.fault("runs/get-output") is not None
