"""What the states of a run mean, in a sentence, as Databricks documents them.

The names are those of `RunResultState` and `TerminationCodeCode` of the Jobs API 2.2. A run shows one of either, and a
workspace may have names that are newer than these: they are shown as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.databricks.run import JobRun, TaskRun

#: The results with which a run has ended well, the second although some of its tasks have not.
SUCCESSES: Final = frozenset({"SUCCESS", "SUCCESS_WITH_FAILURES"})

#: How a run, or a task, says that its own work failed, and not what it runs on.
_OWN_FAILURES: Final = frozenset({"FAILED", "RUN_EXECUTION_ERROR"})

#: The results of tasks that were not run, which is no failure of theirs.
_NOT_RUN: Final = frozenset({"EXCLUDED", "DISABLED", "UPSTREAM_FAILED", "UPSTREAM_CANCELED", "SKIPPED"})

_LIMIT: Final = "it was skipped because the job's limit of concurrent runs was reached"

_REASONS: Final[Mapping[str, str]] = {
    "MAXIMUM_CONCURRENT_RUNS_REACHED": _LIMIT,
    "MAX_CONCURRENT_RUNS_EXCEEDED": _LIMIT,
    "MAX_JOB_QUEUE_SIZE_EXCEEDED": "it was skipped because the job's queue was full",
    "WORKSPACE_RUN_LIMIT_EXCEEDED": "the workspace's limit of runs was reached",
    "TIMEDOUT": "it reached the time limit of the job",
    "CANCELED": "it was cancelled in Databricks",
    "USER_CANCELED": "somebody cancelled it in Databricks",
    "EXCLUDED": "it was not run because its condition was not met",
    "UPSTREAM_FAILED": "it was not run because what it depends on failed",
    "UPSTREAM_CANCELED": "it was not run because what it depends on was cancelled",
    "DISABLED": "it was not run because it is disabled",
}


def has_failed_itself(run: JobRun) -> bool:
    """Return whether the job's own work failed: a task's, or that of a run that shows no tasks.

    Of a run with several tasks, Databricks shows a failed task as an internal error of the run.
    """
    if run.tasks:
        return any(_failed_itself(task.life_cycle_state, task.result_state) for task in run.tasks)

    return _failed_itself(run.life_cycle_state, run.result_state)


def _failed_itself(life_cycle_state: str, result_state: str | None) -> bool:
    return life_cycle_state == "TERMINATED" and result_state in _OWN_FAILURES


def failed_tasks(run: JobRun) -> list[TaskRun]:
    """Return the tasks that failed or were stopped, those whose own work failed first."""
    failed = [task for task in run.tasks if task.result_state not in SUCCESSES | _NOT_RUN]

    return sorted(failed, key=lambda task: not _failed_itself(task.life_cycle_state, task.result_state))


def how_it_ended(run: JobRun, *, called_back: bool = True) -> str:
    """Return a sentence that says how a run ended, and why if its states say so.

    `called_back` says that it was to call back, which it did not.
    """
    state = run.life_cycle_state if run.result_state is None else f"{run.life_cycle_state}, {run.result_state}"
    sentence = f"run {run.run_id} ended{' without calling back' if called_back else ''} ({state})"
    # That somebody cancelled it is only in the code, that it took too long only in the result.
    names = (run.code, run.result_state) if run.result_state == "CANCELED" else (run.result_state, run.code)
    reason = next((_REASONS[name] for name in names if name is not None and name in _REASONS), _said(run))

    return f"{sentence}: {reason}" if reason else sentence


def _said(run: JobRun) -> str:
    return run.message if run.life_cycle_state in {"SKIPPED", "INTERNAL_ERROR"} else ""
