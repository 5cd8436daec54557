"""Every end that a run can have, by each `answer`: what the workflow gets. One table for the tests and the README.

An end is named as the README names it. `play` brings it about in the emulator's workspace.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from orchestrator.testing.emulator.workspace import Job, Task, Workspace

ANSWERS: Final = ("callback", "run", "either")


@dataclass(frozen=True)
class End:
    """An end: the job, what happens to its run, and by each answer what the workflow gets, as the README says it."""

    what: str
    callback: str
    run: str
    either: str
    play: Callable[[Workspace, int], object]
    job: Job = field(default_factory=lambda: Job(fate="hold"))

    def expected(self, answer: str) -> str:
        return {"callback": self.callback, "run": self.run, "either": self.either}[answer]


def _moved(state: str, result: str | None, message: str = "", **left: Any) -> Callable[[Workspace, int], object]:
    return lambda workspace, run_id: workspace.move(run_id, state, result, message, **left)


def _task_moved(key: str, state: str, result: str, **left: Any) -> Callable[[Workspace, int], object]:
    def play(workspace: Workspace, run_id: int) -> None:
        workspace.move(workspace.task_run(run_id, key).run_id, state, result, **left)

    return play


def _in_turn(*plays: Callable[[Workspace, int], object]) -> Callable[[Workspace, int], object]:
    def play(workspace: Workspace, run_id: int) -> None:
        for each in plays:
            each(workspace, run_id)

    return play


def _deleted(workspace: Workspace, run_id: int) -> None:
    workspace.move(run_id, "TERMINATED", "SUCCESS")
    workspace.delete({"run_id": run_id})


def _cancelled(workspace: Workspace, run_id: int) -> None:
    workspace.cancel({"run_id": run_id})


def _repaired(workspace: Workspace, run_id: int) -> None:
    workspace.move(run_id, "TERMINATED", "FAILED", error="RuntimeError: no input")
    workspace.repair({"run_id": run_id, "rerun_all_failed_tasks": True})
    workspace.move(run_id, "TERMINATED", "SUCCESS", output="3")


TWO = Job(tasks={"load": Task(fate="hold"), "check": Task(fate="hold", depends_on=("load",))})
CLEANS_UP = Job(tasks={"load": Task(fate="hold"), "clean": Task(fate="hold", depends_on=("load",), run_if="ALL_DONE")})
IF_FAILED = Job(
    tasks={"load": Task(fate="hold"), "mend": Task(fate="hold", depends_on=("load",), run_if="AT_LEAST_ONE_FAILED")}
)
EACH = Job(
    tasks={
        "each": Task(fate="succeeds", for_each=("1", "2"), output="1"),
        "sum": Task(fate="hold", depends_on=("each",)),
    }
)
RETRIES = Job(tasks={"load": Task(fate="dies", then=("hold",), max_retries=1)})
NO_NOTEBOOK = Job(tasks={"load": Task(fate="hold", kind="sql_task")})

ENDS: Final = (
    End(
        "succeeds, with an exit value",
        *("`died`", '`{"rows": 3}`', '`{"rows": 3}`'),
        play=_moved("TERMINATED", "SUCCESS", output='{"rows": 3}'),
    ),
    End(
        "succeeds, with an exit value that is no JSON",
        *("`died`", '`"3 rows"`', '`"3 rows"`'),
        play=_moved("TERMINATED", "SUCCESS", output="3 rows"),
    ),
    End(
        "succeeds, without an exit value",
        *("`died`", "`null`", "`null`"),
        play=_moved("TERMINATED", "SUCCESS"),
    ),
    End(
        "succeeds, and has no notebook",
        *("`died`", "`null`", "`null`"),
        play=_moved("TERMINATED", "SUCCESS"),
        job=NO_NOTEBOOK,
    ),
    End(
        "succeeds, with more than 5 MB",
        *("`died`", "`null`, noted: larger than the 5 MB", "`null`, noted: larger than the 5 MB"),
        play=_moved("TERMINATED", "SUCCESS", output="x" * (5 * 1024 * 1024 + 1)),
    ),
    End(
        "leaves the report of our notebook, which could not call back",
        *("`died`", '`{"rows": 3}`', '`{"rows": 3}`'),
        play=_moved("TERMINATED", "SUCCESS", output='{"countersign":1,"outcome":"succeeded","result":{"rows": 3}}'),
    ),
    End(
        "all its tasks succeed",
        *("`died`", "`2`", "`2`"),
        play=_in_turn(
            _task_moved("load", "TERMINATED", "SUCCESS", output="1"),
            _task_moved("check", "TERMINATED", "SUCCESS", output="2"),
        ),
        job=TWO,
    ),
    End(
        "all its tasks succeed, the last one without an exit value",
        *("`died`", "`1`", "`1`"),
        play=_in_turn(
            _task_moved("load", "TERMINATED", "SUCCESS", output="1"), _task_moved("check", "TERMINATED", "SUCCESS")
        ),
        job=TWO,
    ),
    End(
        "succeeds with failures",
        *("`died`", "`2`, noted: did not succeed: load", "`2`, noted: did not succeed: load"),
        play=_in_turn(
            _task_moved("load", "TERMINATED", "FAILED"), _task_moved("clean", "TERMINATED", "SUCCESS", output="2")
        ),
        job=CLEANS_UP,
    ),
    End(
        "a task is excluded by its `run_if`",
        *("`died`", "`1`", "`1`"),
        play=_task_moved("load", "TERMINATED", "SUCCESS", output="1"),
        job=IF_FAILED,
    ),
    End(
        "a `for_each` task and one after it succeed",
        *("`died`", "`2`", "`2`"),
        play=_task_moved("sum", "TERMINATED", "SUCCESS", output="2"),
        job=EACH,
    ),
    End(
        "succeeds in a retry of a task",
        *("`died`", "`2`", "`2`"),
        play=_task_moved("load", "TERMINATED", "SUCCESS", output="2"),
        job=RETRIES,
    ),
    End(
        "fails",
        *("`died`", "`failed`: RuntimeError: no input", "`failed`: RuntimeError: no input"),
        play=_moved("TERMINATED", "FAILED", error="RuntimeError: no input"),
    ),
    End(
        "fails in one of its tasks",
        *("`died`", "`failed`: RuntimeError: no input", "`failed`: RuntimeError: no input"),
        play=_task_moved("load", "TERMINATED", "FAILED", error="RuntimeError: no input"),
        job=TWO,
    ),
    End(
        "fails, and its error ends with the report of our notebook, which could not call back",
        *("`died`", "`failed`: no input", "`failed`: no input"),
        play=_moved(
            *("TERMINATED", "FAILED"),
            error='WorkFailed: no input\n{"countersign":1,"outcome":"failed","message":"no input"}',
        ),
    ),
    End(
        "fails, is repaired before anybody looks, and succeeds",
        *("`died`", "`3`", "`3`"),
        play=_repaired,
    ),
    End(
        "ends by an internal error, such as a lost cluster",
        *("`died`: The cluster was lost", "`died`: The cluster was lost", "`died`: The cluster was lost"),
        play=_moved("INTERNAL_ERROR", "FAILED", "The cluster was lost"),
    ),
    End(
        "reaches the job's own time limit",
        *("`died`: time limit of the job", "`died`: time limit of the job", "`died`: time limit of the job"),
        play=_moved("TERMINATED", "TIMEDOUT"),
    ),
    End(
        "is cancelled in Databricks",
        *("`died`: somebody cancelled it", "`died`: somebody cancelled it", "`died`: somebody cancelled it"),
        play=_cancelled,
    ),
    End(
        "is skipped at the limit of concurrent runs",
        *("`died`: limit of concurrent runs", "`died`: limit of concurrent runs", "`died`: limit of concurrent runs"),
        play=_moved("SKIPPED", "MAXIMUM_CONCURRENT_RUNS_REACHED"),
    ),
    End(
        "is not run because its condition is not met",
        *("`died`: condition was not met", "`died`: condition was not met", "`died`: condition was not met"),
        play=_moved("SKIPPED", "EXCLUDED"),
    ),
    End(
        "is not run because what it depends on failed",
        *("`died`: depends on failed", "`died`: depends on failed", "`died`: depends on failed"),
        play=_moved("SKIPPED", "UPSTREAM_FAILED"),
    ),
    End(
        "is deleted, or older than 60 days",
        *("`died`: has no run", "`died`: has no run", "`died`: has no run"),
        play=_deleted,
    ),
)


def read_cell(cell: str) -> dict[str, str]:
    """Return what a cell of the table says: the `outcome`, and the `result`, `message` or `note` that it names."""
    first, _, rest = cell.partition("`: ")
    outcome = first.strip("`")

    if outcome in {"died", "failed"}:
        return {"outcome": outcome, "message": rest}

    result, _, note = cell.partition(", noted: ")

    return {"outcome": "succeeded", "result": result.strip("`"), "note": note}
