"""What the Jobs API shows of runs: the objects `Run`, `RunTask`, `RepairHistoryItem` and `RunOutput` of version 2.2.

A test reads every answer with the dataclasses of databricks.sdk.service.jobs and finds no other field in it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from orchestrator.testing.emulator.definitions import Task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.testing.emulator.definitions import Job
    from orchestrator.testing.emulator.records import Record, Run, TaskRun

#: The states that the newer `status` names differently.
_STATUS: Final = {"WAITING_FOR_RETRY": "WAITING", "SKIPPED": "TERMINATED", "INTERNAL_ERROR": "TERMINATED"}

#: Why a run ended, in the words of the newer `status`.
_CODES: Final = {
    "FAILED": "RUN_EXECUTION_ERROR",
    "CANCELED": "USER_CANCELED",
    "TIMEDOUT": "CANCELED",
    "MAXIMUM_CONCURRENT_RUNS_REACHED": "MAX_CONCURRENT_RUNS_EXCEEDED",
    "EXCLUDED": "SKIPPED",
    "UPSTREAM_FAILED": "SKIPPED",
    "UPSTREAM_CANCELED": "SKIPPED",
}

_QUEUED: Final = "The run is queued because the job has reached its maximum of concurrent runs."

#: How many bytes of an output `runs/get-output` returns: the first of an exit value, the last of the logs.
OUTPUT_LIMIT: Final = 5 * 1024 * 1024

#: The tasks whose standard output is returned as logs.
_LOGGING: Final = frozenset({"spark_python_task", "python_wheel_task", "spark_jar_task"})

#: The required fields of what a task does.
_WORK: Final[Mapping[str, dict[str, Any]]] = {
    "notebook_task": {"notebook_path": "/Workspace/Shared/report_back", "source": "WORKSPACE"},
    "spark_python_task": {"python_file": "/Workspace/Shared/work.py"},
    "python_wheel_task": {"package_name": "work", "entry_point": "main"},
    "spark_jar_task": {"main_class_name": "org.example.Work"},
    "sql_task": {"warehouse_id": "0123456789abcdef"},
    "dbt_task": {"commands": ["dbt run"]},
    "run_job_task": {"job_id": 1},
    "condition_task": {"left": "1", "op": "EQUAL_TO", "right": "1"},
}


class Answers:
    """Shows what a workspace at this address has recorded."""

    def __init__(self, url: str) -> None:
        self._url = url

    def run(self, run: Run, job: Job, *, tasks: bool = True, history: bool = False) -> dict[str, Any]:
        """Return a run as runs/get shows it, with all its tasks."""
        shown = {
            **self._common(run),
            "job_id": run.job_id,
            "job_run_id": run.run_id,
            "number_in_job": run.run_id,
            "original_attempt_run_id": run.original_attempt_run_id or run.run_id,
            "creator_user_name": "emulator@example.com",
            "run_name": job.name or f"job {run.job_id}",
            "run_page_url": self._page(run.job_id, run.run_id),
            "run_type": "JOB_RUN",
            "trigger": "RETRY" if run.attempt_number else "ONE_TIME",
            "job_parameters": [
                {"name": name, "default": run.defaults.get(name, ""), "value": value}
                for name, value in run.parameters.items()
            ],
        }

        if tasks:
            # The newest first: the API promises no order, and attempts of one task are told apart by their number.
            shown["tasks"] = [
                self.task(run, one, job.all_tasks.get(one.task_key, Task())) for one in reversed(run.tasks)
            ]

        if history:
            shown["repair_history"] = _history(run)

        return shown

    def task(self, run: Run, one: TaskRun, task: Task) -> dict[str, Any]:
        """Return a task's run as it is listed among a run's tasks."""
        shown = {
            **self._common(one),
            "task_key": one.task_key,
            "run_if": task.run_if,
            "run_page_url": self._page(run.job_id, one.run_id),
            "depends_on": [{"task_key": key} for key in task.depends_on],
            "max_retries": task.max_retries,
            "min_retry_interval_millis": task.min_retry_interval_millis,
        }

        if task.for_each is not None and one.input is None:
            return {**shown, "for_each_task": _for_each(one, task)}

        return {**shown, task.kind: _WORK[task.kind]}

    def task_as_run(self, run: Run, one: TaskRun, task: Task) -> dict[str, Any]:
        """Return a task's run as runs/get shows it when it is asked for its own id."""
        shown = {
            **self._common(one),
            "job_id": run.job_id,
            "job_run_id": run.run_id,
            "number_in_job": one.run_id,
            "original_attempt_run_id": _first_attempt(run, one).run_id,
            "creator_user_name": "emulator@example.com",
            "run_name": one.task_key,
            "run_page_url": self._page(run.job_id, one.run_id),
            "run_type": "JOB_RUN",
            "trigger": "RETRY" if one.attempt_number else "ONE_TIME",
        }

        if one.iterations:
            shown["iterations"] = [self.task(run, each, task) for each in one.iterations]

        return shown

    def output(self, run: Run, one: TaskRun, task: Task) -> dict[str, Any]:
        """Return the output of a task's run as runs/get-output shows it."""
        shown: dict[str, Any] = {"metadata": self.task_as_run(run, one, task)}
        kind = task.kind

        if one.error is not None:
            shown["error"] = one.error

        if one.error_trace is not None:
            shown["error_trace"] = one.error_trace

        if kind in _LOGGING:
            content = one.logs.encode()
            shown |= {
                "logs": content[-OUTPUT_LIMIT:].decode(errors="ignore"),
                "logs_truncated": len(content) > OUTPUT_LIMIT,
            }
        elif kind == "notebook_task":
            shown["notebook_output"] = _notebook_output(one.result)
        elif kind == "dbt_task":
            shown["dbt_output"] = {"artifacts_link": f"{self._url}/artifacts/{one.run_id}", "artifacts_headers": {}}
        elif kind == "sql_task":
            shown["sql_output"] = {"query_output": {"output_link": f"{self._url}/sql/{one.run_id}"}}
        elif kind == "run_job_task":
            shown["run_job_output"] = {"run_id": one.run_id}

        return shown

    @staticmethod
    def _common(record: Record) -> dict[str, Any]:
        lasted = max(record.end_time - record.start_time, 0) if record.end_time else 0
        return {
            "run_id": record.run_id,
            "attempt_number": record.attempt_number,
            "start_time": record.start_time,
            "end_time": record.end_time,
            "run_duration": lasted,
            "state": _state(record),
            "status": _status(record),
        }

    def _page(self, job_id: int, run_id: int) -> str:
        return f"{self._url}/?o=1#job/{job_id}/run/{run_id}"


def _first_attempt(run: Run, one: TaskRun) -> TaskRun:
    return one if one.input is not None else next(each for each in run.tasks if each.task_key == one.task_key)


def _state(record: Record) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "life_cycle_state": record.life_cycle_state,
        "state_message": record.message,
        "user_cancelled_or_timedout": record.result_state in {"CANCELED", "TIMEDOUT"},
    }

    if record.result_state:
        shown["result_state"] = record.result_state

    if record.life_cycle_state == "QUEUED":
        shown["queue_reason"] = _QUEUED

    return shown


def _status(record: Record) -> dict[str, Any]:
    shown: dict[str, Any] = {"state": _STATUS.get(record.life_cycle_state, record.life_cycle_state)}

    if record.life_cycle_state == "QUEUED":
        shown["queue_details"] = {"code": "MAX_CONCURRENT_RUNS_REACHED", "message": _QUEUED}

    if record.over:
        code = record.code or _CODES.get(record.result_state or "", record.result_state)

        if record.life_cycle_state == "INTERNAL_ERROR" and record.code is None:
            code = "INTERNAL_ERROR"

        if code in {"SUCCESS", "SUCCESS_WITH_FAILURES"}:
            kind = "SUCCESS"
        else:
            kind = "INTERNAL_ERROR" if code == "INTERNAL_ERROR" else "CLIENT_ERROR"

        shown["termination_details"] = {"code": code, "type": kind, "message": record.message}

    return shown


def _history(run: Run) -> list[dict[str, Any]]:
    def item(one: Record, task_run_ids: list[int]) -> dict[str, Any]:
        original = one is run.repairs[0] if run.repairs else True
        return {
            "type": "ORIGINAL" if original else "REPAIR",
            **({} if original else {"id": one.run_id}),
            "start_time": one.start_time,
            "end_time": one.end_time,
            "state": _state(one),
            "status": _status(one),
            "task_run_ids": task_run_ids,
        }

    if not run.repairs:
        return [item(run, [one.run_id for one in run.tasks])]

    return [item(one, one.task_run_ids) for one in run.repairs]


def _for_each(one: TaskRun, task: Task) -> dict[str, Any]:
    results = [each.result_state for each in one.iterations if each.over]
    failed = sum(result not in {"SUCCESS", "EXCLUDED"} for result in results)
    return {
        "inputs": json.dumps(task.for_each or ()),
        "task": {"task_key": f"{one.task_key}_iteration", task.kind: _WORK[task.kind]},
        "stats": {
            "task_run_stats": {
                "active_iterations": len(one.iterations) - len(results),
                "completed_iterations": len(results),
                "failed_iterations": failed,
                "scheduled_iterations": len(one.iterations),
                "succeeded_iterations": len(results) - failed,
                "total_iterations": len(task.for_each or ()),
            }
        },
    }


def _notebook_output(result: str | None) -> dict[str, Any]:
    if result is None:
        return {"truncated": False}

    content = result.encode()
    return {"result": content[:OUTPUT_LIMIT].decode(errors="ignore"), "truncated": len(content) > OUTPUT_LIMIT}
