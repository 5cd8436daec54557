"""What becomes of a task after those it depends on, and of a run after its tasks."""

from __future__ import annotations

import pytest

from orchestrator.testing.emulator.definitions import RunIf, Task
from orchestrator.testing.emulator.graph import instead_of_running, result_of
from orchestrator.testing.emulator.records import TaskRun


@pytest.mark.parametrize(
    ("run_if", "upstream", "instead"),
    [
        ("ALL_SUCCESS", [], None),
        ("ALL_SUCCESS", ["SUCCESS", "SUCCESS"], None),
        ("ALL_SUCCESS", ["SUCCESS", "FAILED"], "UPSTREAM_FAILED"),
        ("ALL_SUCCESS", ["UPSTREAM_FAILED"], "UPSTREAM_FAILED"),
        ("ALL_SUCCESS", ["SUCCESS", "CANCELED"], "UPSTREAM_CANCELED"),
        ("ALL_SUCCESS", ["SUCCESS", "EXCLUDED"], None),
        ("ALL_SUCCESS", ["EXCLUDED", "DISABLED"], "EXCLUDED"),
        ("ALL_DONE", ["FAILED", "SUCCESS"], None),
        ("ALL_DONE", ["EXCLUDED"], "EXCLUDED"),
        ("ALL_FAILED", ["FAILED", "TIMEDOUT"], None),
        ("ALL_FAILED", ["FAILED", "SUCCESS"], "EXCLUDED"),
        ("AT_LEAST_ONE_FAILED", ["FAILED", "SUCCESS"], None),
        ("AT_LEAST_ONE_FAILED", ["SUCCESS"], "EXCLUDED"),
        ("AT_LEAST_ONE_SUCCESS", ["FAILED", "SUCCESS"], None),
        ("AT_LEAST_ONE_SUCCESS", ["FAILED"], "EXCLUDED"),
        ("NONE_FAILED", ["SUCCESS", "EXCLUDED"], None),
        ("NONE_FAILED", ["SUCCESS", "FAILED"], "EXCLUDED"),
    ],
)
def test_the_condition_of_a_task_says_whether_it_is_run(
    run_if: RunIf, upstream: list[str], instead: str | None
) -> None:
    assert instead_of_running(run_if, upstream) == instead


@pytest.mark.parametrize(
    ("first", "last", "state"),
    [
        ("SUCCESS", "SUCCESS", ("TERMINATED", "SUCCESS")),
        ("SUCCESS", "EXCLUDED", ("TERMINATED", "SUCCESS")),
        ("FAILED", "SUCCESS", ("TERMINATED", "SUCCESS_WITH_FAILURES")),
        ("FAILED", "UPSTREAM_FAILED", ("INTERNAL_ERROR", "FAILED")),
        ("SUCCESS", "TIMEDOUT", ("INTERNAL_ERROR", "FAILED")),
        ("CANCELED", "UPSTREAM_CANCELED", ("TERMINATED", "CANCELED")),
    ],
)
def test_the_leaf_tasks_decide_how_a_run_ended(first: str, last: str, state: tuple[str, str]) -> None:
    tasks = {"first": Task(), "last": Task(depends_on=("first",), run_if="ALL_DONE")}
    latest = {
        key: TaskRun(run_id=number, task_key=key, life_cycle_state="TERMINATED", result_state=result, message="no rows")
        for number, (key, result) in enumerate({"first": first, "last": last}.items())
    }

    assert result_of(tasks, latest)[:2] == state


def test_a_failed_run_names_the_task_that_failed_and_why() -> None:
    tasks = {"load": Task(), "check": Task(depends_on=("load",))}
    latest = {
        "load": TaskRun(run_id=1, task_key="load", result_state="FAILED", message="no rows"),
        "check": TaskRun(run_id=2, task_key="check", result_state="UPSTREAM_FAILED"),
    }

    assert result_of(tasks, latest)[2] == (
        "Task load failed with message: no rows. This caused all downstream tasks to get skipped."
    )
