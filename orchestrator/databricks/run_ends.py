"""What the end of a run answers to the wait for it, by whose word counts for that wait.

Where only the callback counts, a run that ends without one has died, however it ended. Where the run's word counts, its
end is read as Databricks means it, together with what its tasks have left. An output is authentic because it is read
with our credentials from the run that our token names. What cannot be read of it is said in a note, and never turns a
success into something else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from orchestrator.callbacks.outcomes import body_of
from orchestrator.databricks.exit_values import Report, read_exit_value, read_last_line
from orchestrator.databricks.run import RunGone
from orchestrator.databricks.run_states import SUCCESSES, failed_tasks, has_failed_itself, how_it_ended
from orchestrator.errors import StepRefused
from orchestrator.text.display import one_line
from orchestrator.text.redaction import without_echoes

if TYPE_CHECKING:
    from orchestrator.databricks.job_wait import JobWait
    from orchestrator.databricks.jobs import Databricks
    from orchestrator.databricks.run import JobRun, RunOutput, TaskRun

#: How many tasks are asked for their output, the last ones first. Each costs a call.
_MOST_TASKS: Final = 8

#: How many names of tasks a note holds.
_MOST_NAMES: Final = 8

_LONGEST_ERROR: Final = 500


@dataclass(frozen=True, kw_only=True)
class RunEnd:
    """What a run's end answers. `body` is JSON text, and `note` what is to be said about a success."""

    kind: Literal["succeeded", "failed", "died"]
    body: str
    note: str | None = None


async def read_run_end(databricks: Databricks, run: JobRun, wait: JobWait) -> RunEnd:
    """Return what the end of this run, which is over, answers to this wait; for use in a step.

    Raises:
        StepUnavailable: an output could not be read now; the run's end stays what it is.
    """
    if wait.answer == "callback":
        return RunEnd(kind="died", body=body_of(how_it_ended(run), _details(run)))

    if run.result_state in SUCCESSES:
        return await _succeeded(databricks, run, wait)

    if not has_failed_itself(run):
        return RunEnd(kind="died", body=body_of(how_it_ended(run, called_back=False), _details(run)))

    return await _failed(databricks, run)


async def _succeeded(databricks: Databricks, run: JobRun, wait: JobWait) -> RunEnd:
    notes = [f"these tasks did not succeed: {_names(run)}"] if run.result_state == "SUCCESS_WITH_FAILURES" else []
    report = Report.nothing()

    for task in _tasks_with_output(run, wait.output_of, notes):
        output = await _output(databricks, task, notes)
        report = report if output is None else read_exit_value(output)

        if output is None or report.is_something:
            break

    if report.failure is not None:
        # The notebook left well, so that its report could be read.
        return RunEnd(kind="failed", body=report.failure)

    note = "; ".join([*notes, *([] if report.note is None else [report.note])])

    return RunEnd(kind="succeeded", body=report.result, note=note or None)


async def _failed(databricks: Databricks, run: JobRun) -> RunEnd:
    """Return the failure that the first failed task reports, or else what it raised."""
    failed = failed_tasks(run)
    output = await _output(databricks, failed[0].run_id if failed else run.run_id, [])
    error = None if output is None else output.error
    reported = read_last_line(error)

    if reported is not None:
        return RunEnd(kind="failed", body=reported)

    told = how_it_ended(run, called_back=False)

    if error:
        told = f"{told}: {one_line(without_echoes(error, run.parameters.values()), _LONGEST_ERROR)}"

    return RunEnd(kind="failed", body=body_of(told, _details(run)))


async def _output(databricks: Databricks, run_id: int, notes: list[str]) -> RunOutput | None:
    """Return an output, or None and add to the notes why it cannot be read."""
    try:
        return await databricks.output(run_id)
    except RunGone:
        notes.append("the output is gone: Databricks keeps it for 60 days")
    except StepRefused as error:
        notes.append(f"the output could not be read: {error}")

    return None


def _tasks_with_output(run: JobRun, output_of: str | None, notes: list[str]) -> list[int]:
    """Return the runs whose output may be the result, the most likely one first."""
    if output_of is not None:
        chosen = [task for task in run.tasks if task.key == output_of]

        if not chosen:
            notes.append(f"the run has no task {output_of!r}")
        elif chosen[0].result_state not in SUCCESSES:
            notes.append(f"the task {output_of!r} did not succeed ({chosen[0].result_state})")

        return [task.run_id for task in chosen]

    if not run.tasks:
        return [run.run_id]

    ended_well = [task for task in run.tasks if task.is_notebook and task.result_state in SUCCESSES]
    latest_first = sorted(ended_well, key=lambda task: task.end_time, reverse=True)

    return [task.run_id for task in latest_first[:_MOST_TASKS]]


def _details(run: JobRun) -> dict[str, Any]:
    details: dict[str, Any] = {
        "life_cycle_state": run.life_cycle_state,
        "result_state": run.result_state,
        "state_message": run.message,
        "run_page_url": run.page_url,
    }
    failed = [task.key for task in failed_tasks(run)]

    return details | ({"failed_tasks": failed[:_MOST_NAMES]} if len(run.tasks) > 1 and failed else {})


def _names(run: JobRun) -> str:
    failed: list[TaskRun] = failed_tasks(run)
    shown = ", ".join(task.key for task in failed[:_MOST_NAMES])

    return shown if len(failed) <= _MOST_NAMES else f"{shown} and {len(failed) - _MOST_NAMES} more"
