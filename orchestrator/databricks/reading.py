"""Reading what the Jobs API sends: the objects `Run` and `RunOutput` of version 2.2, as JSON.

Both the old `state` and the newer `status` are read, because a workspace may send either. What else the objects hold is
left unread, and what may echo something secret is cut out.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from orchestrator.databricks.run import JobRun, RunOutput, TaskRun
from orchestrator.databricks.workspace_address import is_web_page
from orchestrator.text.redaction import without_echoes

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger(__name__)

_OVER: Final = frozenset({"TERMINATED", "SKIPPED", "INTERNAL_ERROR"})

# The newer `status.state` has another name for one state.
_RENAMED: Final = {"WAITING": "WAITING_FOR_RETRY"}


def read_run(run_id: int, run: Mapping[str, Any]) -> JobRun:
    """Return the run that this object describes. One in an unknown state counts as in flight."""
    parameters = {
        one["name"]: one.get("value") or one.get("default") or ""
        for one in run.get("job_parameters") or ()
        if one.get("name")
    }
    life, result, code, message = _state_of(run)
    page = run.get("run_page_url") or ""

    # The library drops a value it does not know, so a state that is newer than the library is missing here.
    if life is None:
        logger.warning("Databricks run %d is in an unknown state and counts as in flight", run_id)

    return JobRun(
        run_id=run.get("run_id") or run_id,
        job_id=run.get("job_id") or 0,
        over=life in _OVER,
        life_cycle_state=life or "UNKNOWN",
        result_state=result,
        message=without_echoes(message, parameters.values())[:500],
        page_url=page if is_web_page(page) else None,
        parameters=parameters,
        code=code,
        tasks=_latest(run.get("tasks") or ()),
    )


def read_output(output: Mapping[str, Any]) -> RunOutput:
    """Return the output that this object describes."""
    notebook = output.get("notebook_output") or {}

    return RunOutput(
        exit_value=notebook.get("result"), truncated=bool(notebook.get("truncated")), error=output.get("error")
    )


def _state_of(run: Mapping[str, Any]) -> tuple[str | None, str | None, str | None, str]:
    """Return the life cycle state, the result, the code and the message."""
    state, status = run.get("state") or {}, run.get("status") or {}
    details = status.get("termination_details") or {}
    code = details.get("code")
    names = [name for name in (state.get("life_cycle_state"), status.get("state")) if name]
    life = _RENAMED.get(names[0], names[0]) if names else None

    return life, state.get("result_state") or code, code, state.get("state_message") or details.get("message") or ""


def _latest(tasks: Any) -> tuple[TaskRun, ...]:
    """Return the latest attempt of each task: retries and repairs are listed beside the attempts before them."""
    latest: dict[str, Mapping[str, Any]] = {}

    for task in tasks:
        known = latest.setdefault(task["task_key"], task)

        if _order(task) > _order(known):
            latest[task["task_key"]] = task

    return tuple(map(_task, latest.values()))


def _order(task: Mapping[str, Any]) -> tuple[int, int]:
    return task.get("attempt_number") or 0, task.get("start_time") or 0


def _task(task: Mapping[str, Any]) -> TaskRun:
    life, result, _, _ = _state_of(task)

    return TaskRun(
        key=task["task_key"],
        run_id=task.get("run_id") or 0,
        life_cycle_state=life or "UNKNOWN",
        result_state=result,
        is_notebook="notebook_task" in task,
        end_time=task.get("end_time") or 0,
    )
